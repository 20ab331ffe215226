from __future__ import annotations

import pytest

from gateway.fleet.retries import TryBudget
from gateway.settings import RetrySettings

NOW = 1_000.0


def budget(share: float, minimum: int, calls: int = 0) -> TryBudget:
    made = TryBudget(RetrySettings(budget_share=share, minimum_calls=minimum))
    for _ in range(calls):
        made.called(NOW)
    return made


@pytest.mark.parametrize(
    ("share", "minimum", "calls", "granted"),
    [(0.2, 0, 100, 20), (0.2, 10, 100, 30), (0.2, 10, 1, 11), (0.0, 0, 100, 0), (0.0, 3, 100, 3), (1.0, 0, 7, 7)],
)
def test_a_share_of_the_calls_may_be_tried_again(share: float, minimum: int, calls: int, granted: int) -> None:
    made = budget(share, minimum, calls)
    assert sum(made.spend(NOW, "late") for _ in range(200)) == granted


def test_what_was_spent_comes_back_with_time() -> None:
    made = budget(0.0, 2)
    assert [made.spend(NOW + second, "x") for second in (0, 5, 6)] == [True, True, False]
    assert [made.spend(NOW + second, "x") for second in (11, 12)] == [True, False]


def test_calls_of_long_ago_give_nothing() -> None:
    made = budget(1.0, 0, calls=50)
    assert not made.spend(NOW + 11, "x")


def test_both_answers_are_counted_by_the_failure_before() -> None:
    made = budget(0.0, 2)
    for code in ("a", "a", "a", "b"):
        made.spend(NOW, code)
    assert (made.made, made.refused) == ({"a": 2}, {"a": 1, "b": 1})
