from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from gateway import Attempt, Ending, Outcome, Usage
from plugins.experiments.live.findings import broken, verdicts
from plugins.experiments.live.reading import Reader
from plugins.experiments.live.settings import ArmSettings, ExperimentSettings, Guardrail, GuardrailKind
from plugins.experiments.live.standing import Saved, Standing
from plugins.experiments.live.strata import at_one_mix
from plugins.experiments.live.sums import Sums
from plugins.experiments.live.tallies import ArmTally, Tallies
from plugins.experiments.live.watching import Seen
from plugins.experiments.statistics.saving import load, save
from tests.unit.builders import make_call

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "required": ["id"]}}}]
TRIAL = ExperimentSettings(
    name="trial",
    model="kimi-k2",
    arms=[ArmSettings(name="a", backends=["vllm"]), ArmSettings(name="b", backends=["sglang"])],
)


def seen(
    arm: int = 0, unit: bytes = b"u", arguments: str | None = None, seconds: float = 1.0, fails: str = "", **fields: Any
) -> Seen:
    """A plain chat call that is over; with `arguments` its answer calls a tool."""
    message: dict[str, Any] = {"role": "assistant", "content": "Hello."}
    if arguments is not None:
        function = {"name": "look", "arguments": arguments}
        message = {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "function": function}]}
    finish = "stop" if arguments is None else "tool_calls"
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    outcome = Outcome(
        ending=Ending.FAILED if fails else Ending.COMPLETED,
        status=503 if fails else 200,
        finish_reason=None if fails else finish,
        error_code=fails or None,
        attempts=(Attempt("r", "vllm", fails or None),),
        usage=None if fails else Usage(prompt_tokens=10, completion_tokens=5),
        admitted_seconds=0.0,
        first_byte_seconds=None if fails else seconds,
        total_seconds=seconds,
        **fields,
    )
    asked = {"model": "kimi-k2", "messages": [{"role": "user", "content": "hi"}], "tools": TOOLS}
    call = make_call(body=json.dumps(asked).encode(), has_tools=True)
    return Seen(call, outcome, arm, unit, True, frozenset({"r"}), json.dumps(body).encode(), None, 0.5)


def counted(*calls: Seen) -> list[ArmTally]:
    tallies, reader = Tallies([ArmTally(), ArmTally()]), Reader()
    for each in calls:
        tallies.take(reader.read(each))
    return tallies.arms


def test_what_is_counted_of_a_call() -> None:
    (arm, _) = counted(seen(), seen(arguments='{"id": 1}'), seen(arguments="{}"), seen(fails="upstream_unreachable"))
    rates = {name: (sums.total, sums.calls) for name, sums in arm.rates.items()}
    assert rates["success_rate"] == (3, 4)
    assert rates["schema_accuracy"] == (1, 2)
    assert rates["tool_call_rate"] == (2, 3)
    assert (arm.calls, arm.units, arm.fell_back, arm.errors) == (4, 1, 1, {"upstream_unreachable": 1})
    assert (arm.prompt_tokens, arm.completion_tokens) == (30, 15)
    assert arm.times["total"].timed_out == 1, "a failure is slower than any answer"


def test_a_call_that_another_arm_served_is_a_failure_of_its_own() -> None:
    fell = seen()
    attempts = (Attempt("r", "vllm", "upstream_broken"), Attempt("other", "sglang"))
    fell = msgspec.structs.replace(fell, outcome=msgspec.structs.replace(fell.outcome, attempts=attempts))
    (arm, _) = counted(fell)
    assert (arm.fell_back, arm.errors) == (1, {"upstream_broken": 1})
    assert (arm.rates["success_rate"].total, arm.rates["success_rate"].calls) == (0, 1)
    assert "schema_accuracy" not in arm.rates, "the answer was another arm's"


def test_clients_that_leave_and_units_that_nobody_drew_tell_nothing() -> None:
    left, kept = seen(), msgspec.structs.replace(seen(unit=b"v"), counts=False)
    left = msgspec.structs.replace(left, outcome=Outcome(ending=Ending.DISCONNECTED, status=499))
    (arm, _) = counted(left, kept)
    assert (arm.units, arm.calls, arm.rates) == (1, 0, {})


def test_calls_of_one_unit_that_all_say_the_same_are_one_observation() -> None:
    rng = random.Random(3)
    sums = Sums()
    for _ in range(200):
        says, before = rng.random() < 0.9, (0, 0)
        for _ in range(5):
            before = sums.add(before, int(says))
    found = sums.rate()
    assert (found.calls, found.conversations) == (1_000, 200)
    assert found.design_effect == pytest.approx(5, rel=0.02)
    alone = Sums()
    for _ in range(1_000):
        alone.add((0, 0), int(rng.random() < 0.9))
    assert alone.rate().design_effect == 1


def test_arms_that_are_alike_or_not() -> None:
    rng = random.Random(5)
    calls = [
        seen(
            arm,
            b"%d" % number,
            '{"id": 1}' if arm == 0 or rng.random() < 0.7 else "{}",
            rng.uniform(1, 1.1) * (1 + arm),
        )
        for number in range(300)
        for arm in (0, 1)
    ]
    found = {each.endpoint: each for each in verdicts(*counted(*calls), {"success_rate": 0.05})}
    assert found["schema_accuracy"].verdict == "inferior"
    assert found["total_p50"].verdict == "slower"
    assert found["success_rate"].verdict == "equivalent"
    assert all(each.anytime for each in found.values() if each.effect is not None)


@pytest.mark.parametrize(
    ("guardrail", "bad", "reason"),
    [
        (Guardrail(watch=GuardrailKind.ERROR_RATIO, bound=0.1), {"fails": "upstream_broken"}, "error ratio"),
        (Guardrail(watch=GuardrailKind.SCHEMA_VALIDITY, bound=0.9), {"arguments": "{}"}, "schema validity"),
    ],
)
def test_a_guardrail_acts_on_what_is_sure(guardrail: Guardrail, bad: dict[str, Any], reason: str) -> None:
    good = {"arguments": '{"id": 1}'}
    (well, ill) = counted(
        *[seen(0, b"%d" % n, **good) for n in range(60)], *[seen(1, b"%d" % n, **bad) for n in range(60)]
    )
    assert broken(guardrail, well) is None
    assert reason in (broken(guardrail, ill) or "")
    (few, _) = counted(*[seen(0, b"%d" % n, **bad) for n in range(guardrail.minimum_calls - 1)])
    assert broken(guardrail, few) is None


def test_what_was_seen_is_saved_and_goes_on_only_with_the_same_arms() -> None:
    standing = Standing(TRIAL)
    standing.waiting.put(seen(1, b"x"))
    assert standing.count(10) == 1
    saved = load(Saved, save(standing.saved()))
    assert Standing(TRIAL, saved=saved).tallies.arms[1].calls == 1
    other = msgspec.structs.replace(TRIAL, arms=[TRIAL.arms[0], ArmSettings(name="b", backends=["llama_cpp"])])
    assert Standing(other, saved=saved).tallies.arms[1].calls == 0
    heavier = [TRIAL.arms[0], msgspec.structs.replace(TRIAL.arms[1], weight=3.0)]
    assert standing.redeclare(msgspec.structs.replace(TRIAL, arms=heavier))
    assert standing.ratio.weights == {"a": 1.0, "b": 3.0}
    assert not standing.redeclare(other)


def test_an_arm_that_was_rolled_back_is_dealt_no_more() -> None:
    standing = Standing(TRIAL)
    standing.roll_back("b", "it is slow")
    assert standing.weights() == [("a", 1.0), ("b", 0.0)]
    assert standing.status.changed_at > 0


def test_calls_of_other_lengths_and_caches_are_compared_at_one_mix() -> None:
    """B's calls are the long ones: it looks slower by far, and is not."""
    rng = random.Random(8)

    def of(arm: int, number: int) -> Seen:
        is_long = rng.random() < (0.8 if arm else 0.2)
        usage = Usage(prompt_tokens=20_000 if is_long else 100, cached_tokens=0, completion_tokens=5)
        call = seen(arm, b"%d-%d" % (arm, number), seconds=(10.0 if is_long else 1.0) * rng.uniform(0.95, 1.05))
        return msgspec.structs.replace(call, outcome=msgspec.structs.replace(call.outcome, usage=usage))

    a, b = counted(*[of(arm, number) for number in range(600) for arm in (0, 1)])
    plain = {each.endpoint: each for each in verdicts(a, b, {})}
    assert plain["total_p50"].verdict == "slower"
    mix = at_one_mix(a.strata, b.strata, {}, 1_000)
    assert set(mix.weights) == {"8k to 32k tokens, not cached, busy", "under 1k tokens, not cached, busy"}
    assert sum(mix.weights.values()) == pytest.approx(1)
    found = {each.endpoint: each for each in mix.verdicts}
    assert found["total_p95"].verdict == "equivalent"
    assert found["ttft_p50"].verdict == "undecided", "plain answers have no first token"


def test_strata_that_one_arm_never_saw_are_left_out() -> None:
    cached = Usage(prompt_tokens=5_000, cached_tokens=4_000, completion_tokens=5)
    only_a = seen(0, b"x")
    only_a = msgspec.structs.replace(only_a, load=0.1, outcome=msgspec.structs.replace(only_a.outcome, usage=cached))
    a, b = counted(*[seen(arm, b"%d" % number) for number in range(20) for arm in (0, 1)], *[only_a] * 3)
    assert set(a.strata) - set(b.strata) == {"1k to 8k tokens, cached, free"}
    mix = at_one_mix(a.strata, b.strata, {}, 1_000)
    assert (list(mix.weights.values()), mix.left_out) == ([1.0], 3)
    nothing = at_one_mix({}, {}, {}, 1_000)
    assert (nothing.weights, nothing.left_out) == ({}, 0)
    assert all(each.verdict == "undecided" for each in nothing.verdicts)
