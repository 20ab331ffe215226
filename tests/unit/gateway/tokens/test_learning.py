from __future__ import annotations

import random

import pytest

from gateway import Attempt, Call, Ending, Model, Operation, Outcome, Principal, Usage
from gateway.tokens import LearnedCounter
from gateway.tokens.calibration import Line, Mean, Ratio
from tests.unit.builders import CHECKPOINT, make_call


def prompt_of(size: int, **changes: object) -> Call:
    """A chat call whose messages are so many bytes long."""
    text = "x" * (size - len('[{"role":"user","content":""}]'))
    return make_call(body=b'{"messages":[{"role":"user","content":"%s"}]}' % text.encode(), **changes)


def served(
    prompt: int | None, output: int | None, *, events: int = 0, seconds: float = 1.0, **changes: object
) -> Outcome:
    outcome = Outcome(ending=Ending.COMPLETED, status=200, usage=Usage(prompt_tokens=prompt, completion_tokens=output))
    outcome.attempts = (Attempt("a", "vllm"),)
    outcome.streamed_events, outcome.total_seconds, outcome.placed_seconds = events, seconds, 0.0
    for name, value in changes.items():
        setattr(outcome, name, value)
    return outcome


def test_before_anything_is_known_four_bytes_are_a_token() -> None:
    assert LearnedCounter().estimate(prompt_of(4_000)) == pytest.approx(1_000, rel=0.05)


@pytest.mark.parametrize(("slope", "frame"), [(0.5, 0), (0.2, 60), (0.31, 12)])
def test_an_estimate_learns_how_texts_come_to_tokens(slope: float, frame: int) -> None:
    counter, sizes = LearnedCounter(), random.Random(1)
    for _ in range(300):
        size = sizes.randrange(60, 20_000)
        counter.learn(prompt_of(size), served(round(frame + slope * size), 5))
    for size in (60, 300, 2_000, 20_000, 100_000):
        assert counter.estimate(prompt_of(size)) == pytest.approx(frame + slope * size, rel=0.06, abs=3)


def test_each_model_and_operation_learns_for_itself() -> None:
    counter = LearnedCounter()
    before = counter.estimate(prompt_of(1_000))
    other = Model("other", (), CHECKPOINT)
    for _ in range(100):
        counter.learn(prompt_of(1_000, model=other), served(900, 5))
    assert counter.estimate(prompt_of(1_000)) == before
    assert counter.estimate(prompt_of(1_000, model=other)) == pytest.approx(900, rel=0.05)


def test_what_a_client_may_send_cannot_spoil_an_estimate_beyond_bounds() -> None:
    counter = LearnedCounter()
    for _ in range(500):
        counter.learn(prompt_of(100), served(10**9, 5))
    assert counter.estimate(prompt_of(1_000)) <= 2 * 1_000 + 4_097
    for _ in range(500):
        counter.learn(prompt_of(100_000), served(1, 5))
    assert counter.estimate(prompt_of(64_000)) >= 1_000


def test_only_the_prompt_counts_whatever_else_a_body_holds() -> None:
    counter, message = LearnedCounter(), b'{"messages":[{"role":"user","content":"hi"}]'
    plain, padded = make_call(body=message + b"}"), make_call(body=message + b',"metadata":"' + b"x" * 9_999 + b'"}')
    assert counter.estimate(plain) == counter.estimate(padded)
    with_tools = make_call(body=message + b',"tools":[' + b" " * 400 + b"{}]}", has_tools=True)
    assert counter.estimate(with_tools) > counter.estimate(plain) + 90


@pytest.mark.parametrize(
    "outcome",
    [
        served(None, None),
        served(50, 5, usage=None),
        served(50, 5, usage_estimated=True),
        served(50, 5, attempts=()),
        served(0, 0, seconds=0.0),
    ],
)
def test_what_was_not_told_is_not_learnt(outcome: Outcome) -> None:
    counter, call = LearnedCounter(), prompt_of(1_000, stream=True, max_tokens=9)
    before = (counter.estimate(call), counter.produced(call, "vllm", 9), counter.typical_output(call))
    counter.learn(call, outcome)
    assert (counter.estimate(call), counter.produced(call, "vllm", 9), counter.typical_output(call)) == before


def test_tokens_of_a_broken_stream_go_by_what_the_engine_puts_into_an_event() -> None:
    counter, call = LearnedCounter(), prompt_of(100, stream=True)
    assert counter.produced(call, "sglang", 100) == 100
    for _ in range(200):
        counter.learn(call, served(30, 400, events=100))
    assert counter.produced(call, "vllm", 100) == pytest.approx(400, rel=0.02)
    assert counter.produced(call, "sglang", 100) == 100


def test_no_answer_is_longer_than_was_asked_for() -> None:
    call = make_call(body=b'{"messages":[],"n":2}', stream=True, max_tokens=10)
    assert LearnedCounter().produced(call, "vllm", 500) == 20
    assert LearnedCounter().produced_unseen(call, 500.0) == 20


def test_an_answer_that_never_came_is_counted_by_the_time_it_took() -> None:
    counter, call = LearnedCounter(), prompt_of(100)
    for _ in range(200):
        counter.learn(call, served(30, 500, seconds=10.0))
    assert counter.produced_unseen(call, 3.0) == pytest.approx(150, rel=0.05)


def test_a_typical_answer_is_the_key_s_own_else_the_model_s_else_a_guess() -> None:
    counter = LearnedCounter()
    mine, other = (prompt_of(100, principal=Principal(key, key, "demo")) for key in ("mine", "other"))
    assert counter.typical_output(mine) == 512
    for _ in range(100):
        counter.learn(mine, served(30, 40))
    assert counter.typical_output(mine) == pytest.approx(40, abs=5)
    assert counter.typical_output(other) == pytest.approx(40, abs=25)
    four = make_call(body=b'{"messages":[],"n":4}', principal=mine.principal)
    assert counter.typical_output(four) == pytest.approx(160, abs=20)


def test_answers_that_were_cut_to_a_limit_are_not_typical() -> None:
    counter = LearnedCounter()
    for _ in range(100):
        counter.learn(prompt_of(100, max_tokens=1), served(30, 1))
    assert counter.typical_output(prompt_of(100)) == 512


def test_keys_without_end_take_no_memory_without_end() -> None:
    counter = LearnedCounter(most_keys=3)
    calls = [prompt_of(100, principal=Principal(str(number), "", "demo")) for number in range(10)]
    for call in calls:
        for _ in range(50):
            counter.learn(call, served(30, 1_000))
    assert counter.typical_output(calls[9]) == pytest.approx(1_000, rel=0.02)
    for _ in range(300):
        counter.learn(calls[9], served(30, 10))
    assert counter.typical_output(calls[8]) > 900  # still its own
    assert counter.typical_output(calls[0]) < 100  # forgotten: the model's


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_can_be_estimated(operation: Operation) -> None:
    assert LearnedCounter().estimate(make_call(operation=operation, body=b"{}")) >= 1


def test_estimators_forget() -> None:
    ratio, mean, line = Ratio(1.0, 10.0), Mean(100.0), Line()
    for _ in range(400):
        ratio.learn(3.0, 1.0)
        mean.learn(7.0)
        line.learn(1_000, 250)
    for _ in range(400):
        ratio.learn(5.0, 1.0)
        mean.learn(9.0)
        line.learn(1_000, 500)
    assert ratio.value == pytest.approx(5.0, rel=0.01)
    assert mean.value == pytest.approx(9.0, rel=0.01)
    assert line.at(1_000) == pytest.approx(500, rel=0.05)
