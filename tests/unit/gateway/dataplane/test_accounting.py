"""What a call is said to have used, by how it ended."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Attempt, Call, Ending, Model, Operation, Outcome, Prices, Usage
from gateway.dataplane.accounting import Accounting
from gateway.dataplane.attempting import CLIENT_LEFT
from tests.unit.builders import CHECKPOINT, make_call
from tests.unit.fakes import FakeCounter

STREAM = make_call(stream=True)
SERVED = (Attempt("a", "vllm"),)
LEFT = (Attempt("a", "vllm", "upstream_unreachable"), Attempt("b", "sglang", CLIENT_LEFT))


def completed(call: Call | None = None, **changes: Any) -> tuple[Outcome, FakeCounter]:
    outcome = Outcome(**{"ending": Ending.COMPLETED, "status": 200, "attempts": SERVED, **changes})
    counter = FakeCounter()
    Accounting(counter).complete(call or make_call(), outcome)
    return outcome, counter


def test_what_the_engine_told_is_taken_and_learnt_from() -> None:
    usage = Usage(prompt_tokens=7, completion_tokens=3)
    outcome, counter = completed(usage=usage, streamed_events=50)
    assert (outcome.usage, outcome.usage_estimated) == (usage, False)
    assert counter.learnt == [outcome]


@pytest.mark.parametrize("ending", [Ending.DISCONNECTED, Ending.FAILED, Ending.TIMED_OUT])
def test_a_broken_stream_is_counted_by_what_was_produced(ending: Ending) -> None:
    outcome, counter = completed(STREAM, ending=ending, streamed_events=4)
    assert outcome.usage == Usage(prompt_tokens=100, completion_tokens=8)
    assert outcome.usage_estimated
    assert counter.learnt == []


def test_an_early_word_of_the_engine_is_not_its_last() -> None:
    told = Usage(prompt_tokens=9, completion_tokens=1)  # as in the first event of Anthropic's streams
    outcome, _ = completed(STREAM, ending=Ending.DISCONNECTED, usage=told, streamed_events=4)
    assert outcome.usage == Usage(prompt_tokens=9, completion_tokens=8)
    assert outcome.usage_estimated


def test_the_last_word_stands_although_the_client_left_before_the_end() -> None:
    told = Usage(prompt_tokens=9, completion_tokens=5)
    outcome, _ = completed(ending=Ending.DISCONNECTED, usage=told, streamed_events=9, finish_reason="stop")
    assert (outcome.usage, outcome.usage_estimated) == (told, False)


def test_a_client_that_leaves_before_the_first_byte_has_used_its_prompt() -> None:
    outcome, _ = completed(STREAM, ending=Ending.DISCONNECTED, attempts=LEFT)
    assert outcome.usage == Usage(prompt_tokens=100, completion_tokens=0)
    assert outcome.usage_estimated


def test_an_answer_that_was_to_come_whole_is_counted_by_its_time() -> None:
    outcome, _ = completed(ending=Ending.DISCONNECTED, attempts=LEFT, placed_seconds=0.5, total_seconds=3.5)
    assert outcome.usage == Usage(prompt_tokens=100, completion_tokens=30)
    assert outcome.usage_estimated


@pytest.mark.parametrize("attempts", [(), (Attempt("a", "vllm", "upstream_overloaded"),)])
def test_what_no_engine_worked_on_has_used_nothing(attempts: tuple[Attempt, ...]) -> None:
    outcome, _ = completed(ending=Ending.FAILED, status=503, attempts=attempts)
    assert (outcome.usage, outcome.usage_estimated, outcome.cost_nanos) == (None, False, None)


@pytest.mark.parametrize("operation", [Operation.TOKENIZE, Operation.COUNT_TOKENS])
def test_counting_uses_nothing(operation: Operation) -> None:
    outcome, counter = completed(make_call(operation=operation), usage=Usage(prompt_tokens=7))
    assert outcome.usage is None
    assert counter.learnt == []


@pytest.mark.parametrize(("cached_price", "nanos"), [(0.15, 6_200_000), (None, 8_000_000)])
def test_cost_goes_by_class(cached_price: float | None, nanos: int) -> None:
    prices = Prices(input=0.6, cached_input=cached_price, output=2.5)
    call = make_call(model=Model("k2", (), CHECKPOINT, prices=prices))
    usage = Usage(prompt_tokens=5_000, cached_tokens=4_000, completion_tokens=2_000)
    outcome, _ = completed(call, usage=usage)
    assert outcome.cost_nanos == nanos


def test_without_prices_there_is_no_cost() -> None:
    outcome, _ = completed(usage=Usage(prompt_tokens=5, completion_tokens=2))
    assert outcome.cost_nanos is None


def test_what_no_engine_worked_on_costs_nothing_where_there_are_prices() -> None:
    call = make_call(model=Model("k2", (), CHECKPOINT, prices=Prices(input=0.6, output=2.5)))
    outcome, _ = completed(call, ending=Ending.FAILED, status=429, attempts=())
    assert outcome.cost_nanos == 0
