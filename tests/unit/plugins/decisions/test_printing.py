from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway import Attempt, Decision, Ending, Outcome, Step
from plugins.decisions.printing import explanation
from plugins.decisions.record import CallRecord, encode, is_sampled, record_of
from tests.unit.builders import make_call

TIMES = "admitted after 0.2 ms, placed after 0.3 ms, first byte after 812.0 ms, over after 4.10 s"
NOW = 1_795_412_416.418
DECISION = Decision(
    candidates=("vllm-1", "vllm-2", "kt-1", "kt-2"),
    steps=(
        Step(policy="capability_fit", left=("vllm-1", "kt-1", "kt-2"), dropped=(("vllm-2", "ejected"),)),
        Step(policy="context_fit", left=("vllm-1", "kt-2"), dropped=(("kt-1", "context"),)),
        Step(policy="least_loaded", left=("vllm-1", "kt-2"), scores=(0.25, 0.5), unit="share", note="two were idle"),
    ),
    chosen="kt-2",
)
OUTCOME = Outcome(
    ending=Ending.COMPLETED,
    status=200,
    attempts=(
        Attempt("vllm-1", "vllm", "upstream_overloaded", 0.0003, 0.4102, "status 503: queue full"),
        Attempt("kt-2", "ktransformers", None, 0.4106, 0.4014, hedge=True),
    ),
    admitted_seconds=0.0002,
    placed_seconds=0.0003,
    first_byte_seconds=0.812,
    total_seconds=4.1,
)


def made(outcome: Outcome = OUTCOME, decision: Decision = DECISION, **call: Any) -> CallRecord:
    return record_of(make_call(stream=True, **call), outcome, decision, NOW)


def test_a_call_that_was_served_at_the_second_try() -> None:
    assert explanation(made()) == [
        f"{'0' * 32}: chat of kimi-k2, streamed, for demo (key demo)",
        f"received 2026-11-23 05:40:12.318 UTC, {TIMES}",
        "=> served by kt-2 at attempt 2; completed (status 200)",
        "",
        "WHO COULD SERVE IT, and what each policy in turn left, best first",
        "  REPLICA  capability_fit  context_fit   least_loaded [share]",
        "  vllm-1   1.              1.            1. (0.25)",
        "  vllm-2   OUT: ejected",
        "  kt-1     2.              OUT: context",
        "  kt-2     3.              2.            2. (0.5)",
        "  least_loaded: two were idle",
        "",
        "WHAT WAS TRIED",
        "           REPLICA  BACKEND        AFTER     TOOK      RESULT",
        "  1        vllm-1   vllm           0.3 ms    410.2 ms  said that it is overloaded: status 503: queue full",
        "  2 hedge  kt-2     ktransformers  410.6 ms  401.4 ms  answered",
    ]


@pytest.mark.parametrize(
    ("attempts", "steps", "candidates", "said"),
    [
        (
            (Attempt("a", "vllm", "upstream_timeout"),),
            (Step(policy="x", left=("a",)),),
            ("a",),
            "=> served by nobody: did not answer in time, at attempt 1 on a; failed (status 503, a_code)",
        ),
        (
            (),
            (Step(policy="time_window", left=(), dropped=(("a", "hours"),)),),
            ("a",),
            "=> not tried anywhere: time_window left no replica; failed (status 503, a_code)",
        ),
        (
            (),
            (),
            (),
            "=> not tried anywhere: it was refused before a replica was looked for; failed (status 503, a_code)",
        ),
    ],
)
def test_a_call_that_nobody_served(attempts: Any, steps: Any, candidates: Any, said: str) -> None:
    outcome = Outcome(ending=Ending.FAILED, status=503, error_code="a_code", attempts=attempts)
    lines = explanation(made(outcome, Decision(candidates=candidates, steps=steps)))
    assert lines[2] == said
    assert ("WHAT WAS TRIED" in lines) is bool(attempts)


def test_a_record_goes_over_the_wire_unchanged() -> None:
    assert msgspec.json.decode(encode(made()), type=CallRecord) == made()


def test_a_record_holds_nothing_of_what_was_said() -> None:
    call = made(body=b'{"messages":["a secret prompt"]}', user="somebody")
    assert b"secret" not in encode(call)
    assert b"somebody" not in encode(call)


@pytest.mark.parametrize(("share", "sampled"), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)])
def test_the_sample_is_by_the_end_of_the_id(share: float, sampled: int) -> None:
    ids = [f"{'0' * 24}{digit}{'0' * 7}" for digit in "048c"]
    assert sum(is_sampled(call_id, share) for call_id in ids) == sampled
    assert not is_sampled("no id of ours", 1.0)
