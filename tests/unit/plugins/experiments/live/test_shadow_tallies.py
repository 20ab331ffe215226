from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gateway import Attempt, Call, Ending, Outcome, Usage
from plugins.experiments.live.reading import Reader
from plugins.experiments.live.settings import ShadowSettings
from plugins.experiments.live.shadow_tallies import ShadowTallies, ShadowTally
from plugins.experiments.live.shadow_views import paired_verdicts, shadow_view
from plugins.experiments.live.sums import PairSums
from plugins.experiments.live.watching import Answers, Pairing, Seen, Waiting, Watch
from plugins.experiments.statistics.paired import paired_table
from plugins.experiments.statistics.saving import load, save
from tests.unit.builders import make_call

NAMES = ("now", "next")
ASKED = {"model": "kimi-k2", "messages": [{"role": "user", "content": "hi"}]}


def call_of(**fields: Any) -> Call:
    body = json.dumps({**ASKED, **fields}).encode()
    return make_call(body=body, has_tools="tools" in fields)


GREEDY = call_of(temperature=0)


def seen(
    arm: int,
    text: str = "Hello.",
    call: Call = GREEDY,
    fails: str = "",
    tokens: Any = None,
    finish: str = "stop",
    **fields: Any,
) -> Seen:
    """A plain answer of an arm, or of a copy to it."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    if tokens is not None:
        choice["logprobs"] = {"content": [{"token": t, "logprob": p, "top_logprobs": []} for t, p in tokens]}
    outcome = Outcome(
        **{
            "ending": Ending.FAILED if fails else Ending.COMPLETED,
            "status": 200,
            "error_code": fails or None,
            "finish_reason": finish,
            "attempts": (Attempt(NAMES[arm], "vllm", fails or None),),
            "usage": Usage(prompt_tokens=10, completion_tokens=5),
            "admitted_seconds": 0.0,
            "first_byte_seconds": 0.1,
            "total_seconds": 1.0,
            **fields,
        }
    )
    answer = json.dumps({"choices": [choice]}).encode()
    return Seen(call, outcome, arm, b"u", False, frozenset({NAMES[arm]}), answer, None, 0.5)


def compared(*answers: Answers, null: bool = True) -> ShadowTally:
    tallies = ShadowTallies(ShadowTally.of(2), Reader(), null=null)
    for each in answers:
        tallies.take(each)
    return tallies.tally


def counts(sums: PairSums) -> tuple[int, int, int, int]:
    return sums.calls, sums.both, sums.only_a, sums.only_b


def test_answers_to_one_call_are_compared_with_the_first_arm_s_and_that_with_itself() -> None:
    served_by_first = Answers(seen(0), (seen(1, "Hallo."), seen(0)))
    served_by_other = Answers(seen(1, "Hallo."), (seen(0), seen(0, "Hi.")))
    tally = compared(served_by_first, served_by_other)
    assert (tally.calls, tally.left) == (2, 0)
    assert (tally.pairs[0].pairs, tally.null.pairs) == (2, 2)
    assert (tally.pairs[0].greedy.alike, tally.null.greedy.alike) == (0, 1)
    assert tally.pairs[0].greedy.by_part == [0, 2, 0, 0, 0, 0, 0, 0, 0, 0], "after H, of six characters"
    assert tally.pairs[0].greedy.same_characters == 2
    rates = tally.pairs[0].rates
    assert counts(rates["success_rate"]) == (2, 2, 0, 0)
    assert counts(rates["greedy_agreement"]) == (2, 0, 1, 0), "A said the same twice, once of two times"
    assert counts(rates["finish_agreement"]) == (2, 2, 0, 0)
    assert "greedy_agreement" not in tally.null.rates
    assert tally.copies == [{"served": 3}, {"served": 1}]
    assert [times["total"].calls for times in tally.times] == [3, 1]
    assert [rates["success_rate"].calls for rates in tally.rates] == [3, 1]


def test_sampled_answers_are_no_greedy_ones_and_want_the_null_arm() -> None:
    warm = call_of(temperature=0.6)
    with_null = compared(Answers(seen(0, call=warm), (seen(1, call=warm), seen(0, call=warm))))
    assert set(with_null.pairs[0].rates) >= {"finish_agreement", "success_rate"}
    assert "greedy_agreement" not in with_null.pairs[0].rates
    assert with_null.pairs[0].greedy.pairs == 0
    without = compared(Answers(seen(0, call=warm), (seen(1, call=warm),)), null=False)
    assert "finish_agreement" not in without.pairs[0].rates
    greedy = compared(Answers(seen(0), (seen(1),)), null=False)
    assert counts(greedy.pairs[0].rates["greedy_agreement"]) == (1, 1, 0, 0)
    half = compared(Answers(seen(0), (seen(1), seen(0, fails="load", ending=Ending.DISCONNECTED))))
    assert "greedy_agreement" not in half.pairs[0].rates, "A was to be asked twice, and was not"
    assert (half.pairs[0].pairs, half.null.pairs) == (1, 0)


def test_a_copy_that_gave_way_or_a_client_that_left_tells_nothing_and_a_failed_copy_does() -> None:
    gave_way = Answers(seen(0), (seen(1, fails="load", ending=Ending.DISCONNECTED), seen(0)))
    left = Answers(seen(0, fails="", ending=Ending.DISCONNECTED), (seen(1), seen(0)))
    failed = Answers(seen(0), (seen(1, fails="upstream_broken"), seen(0)))
    tally = compared(gave_way, left, failed)
    assert (tally.calls, tally.left, tally.pairs[0].pairs) == (3, 1, 1)
    assert counts(tally.pairs[0].rates["success_rate"]) == (1, 0, 1, 0)
    assert tally.copies[1] == {"load": 1, "served": 1, "upstream_broken": 1}
    assert tally.times[1]["total"].timed_out == 1, "a failure is slower than any answer"


def test_a_call_that_was_tried_again_has_not_succeeded_as_a_copy_would_have() -> None:
    again = (Attempt("now", "vllm", "upstream_overloaded"), Attempt("now", "vllm"))
    tally = compared(Answers(seen(0, attempts=again), (seen(1), seen(0))))
    assert counts(tally.pairs[0].rates["success_rate"]) == (1, 0, 0, 1)
    assert counts(tally.pairs[0].rates["nonempty_rate"]) == (1, 1, 0, 0)


def test_prompts_that_are_counted_otherwise_and_log_probabilities() -> None:
    usage = Usage(prompt_tokens=11, completion_tokens=5)
    first, second = [("Hel", -0.1), ("lo", -0.2)], [("Hel", -0.4), ("lo", -0.2)]
    tally = compared(Answers(seen(0, tokens=first), (seen(1, tokens=second, usage=usage), seen(0, tokens=first))))
    assert (tally.pairs[0].prompts, tally.pairs[0].prompts_differ, tally.null.prompts_differ) == (1, 1, 0)
    found = tally.pairs[0].greedy.tokens.result()
    assert (found.tokens, found.top_agreement) == (2, 1.0)
    assert found.mean_difference == pytest.approx(0.15)
    assert found.largest_difference == pytest.approx(0.3)


def many(number: int, share_bad: float) -> Iterator[Answers]:
    rng = random.Random(4)
    for _ in range(number):
        own, other = seen(0), seen(1, "Hallo." if rng.random() < share_bad else "Hello.")
        yield Answers(msgspec.structs.replace(own, unit=rng.randbytes(8)), (other, seen(0)))


def test_verdicts_may_be_watched_and_stand_beside_the_noise() -> None:
    tally = compared(*many(400, 0.3))
    found = {each.endpoint: each for each in paired_verdicts(tally.pairs[0], tally.null, {"success_rate": 0.02})}
    assert found["greedy_agreement"].verdict == "inferior"
    assert found["success_rate"].verdict == "equivalent"
    assert found["success_rate"].margin == 0.02
    assert found["success_rate"].noise.effect == 0
    assert all(each.anytime for each in found.values() if each.effect is not None)
    assert found["json_rate"].verdict == "undecided"
    view = shadow_view(NAMES, tally, {})
    assert view.null is not None
    assert (view.null.a, view.null.b, view.null.verdicts) == ("now", "now", [])
    assert view.arms[1].rates["success_rate"].value == 1
    assert view.comparisons[0].greedy.mean_same_characters == 1


def test_what_several_nodes_saw_is_added_up_and_saved() -> None:
    one, other = compared(*many(30, 0.5)), compared(*many(20, 0.0))
    whole = one.plus(load(ShadowTally, save(other)))
    assert (whole.calls, whole.pairs[0].pairs, whole.copies[1]["served"]) == (50, 50, 50)
    assert whole.times[0]["total"].calls == 50
    assert (one.calls, one.times[0]["total"].calls) == (30, 30), "they stay as they are"
    assert whole.pairs[0].greedy.alike == one.pairs[0].greedy.alike + 20
    assert counts(whole.pairs[0].rates["success_rate"]) == (50, 50, 0, 0)
    assert whole.rates[1]["nonempty_rate"].total == 50


def test_running_sums_tell_the_same_design_effect_as_all_pairs_at_once() -> None:
    rng = random.Random(9)
    sums, firsts, seconds, units = PairSums(), [], [], []
    for unit in range(150):
        before, often = (0, 0), rng.random() ** 3
        for _ in range(rng.randint(1, 6)):
            a, b = rng.random() < 0.9, rng.random() < 0.9 - 0.6 * often
            before = sums.tell(before, a, b)
            firsts.append(float(a))
            seconds.append(float(b))
            units.append(unit)
    running, whole = sums.table(), paired_table(firsts, seconds, units)
    assert msgspec.structs.replace(running, design_effect=1.0) == msgspec.structs.replace(whole, design_effect=1.0)
    assert running.design_effect == pytest.approx(whole.design_effect, rel=1e-9)
    assert running.design_effect > 1


def test_answers_are_brought_together_in_whatever_order_they_end() -> None:
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        waiting = Waiting()
        pairing = Pairing(waiting, 2)
        tells = [pairing.serve, pairing.copy, pairing.copy]
        watches = [
            Watch(waiting, GREEDY, at, b"u", frozenset(), 0.0, counts=not at, tell=tell) for at, tell in enumerate(tells)
        ]  # fmt: skip
        for at in order:
            watches[at].sent(b"x")
            watches[at].ended(Outcome(ending=Ending.COMPLETED, status=200))
        alone, together = sorted(waiting.take(10), key=lambda each: isinstance(each, Answers))
        assert isinstance(alone, Seen)
        assert isinstance(together, Answers)
        assert (alone, together.served.arm, {copy.arm for copy in together.copies}) == (together.served, 0, {1, 2})
        assert waiting.held_bytes == 0


def test_what_cannot_be_asked_for() -> None:
    with pytest.raises(msgspec.ValidationError, match="share"):
        msgspec.convert({}, ShadowSettings)
    with pytest.raises(msgspec.ValidationError, match="max_concurrent"):
        msgspec.convert({"share": 0.5, "max_concurrent": 1_000}, ShadowSettings)
