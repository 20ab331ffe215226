"""What comes back of a budget comes back to the unit, however often it is asked; the stores' own tests are elsewhere."""

from __future__ import annotations

from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway import Budget
from gateway.contracts.store import MOST_UNITS, Level

MONTH_SECONDS = 30 * 86_400


@pytest.mark.parametrize(
    ("per_second", "expected"),
    [
        (0.0, (0, 1)),
        (1000 / 60, (50, 3)),
        (1 / 86_400, (1, 86_400)),
        (100 / (31 * 86_400), (1, 26_784)),
        (1e-9, (1, 31 * 86_400)),
        (1e300, (MOST_UNITS, 1)),
    ],
)
def test_a_rate_is_the_fraction_that_it_was_made_of(per_second: float, expected: tuple[int, int]) -> None:
    assert Budget(key="a", capacity=1, refill_per_second=per_second).rate == expected


@given(
    amount=st.integers(1, 10**9),
    every=st.sampled_from([1, 60, 3_600, 86_400, MONTH_SECONDS]),
    steps=st.lists(st.integers(0, 10**7), min_size=1, max_size=50),
)
def test_asked_often_or_once_the_same_comes_back(amount: int, every: int, steps: list[int]) -> None:
    budget = Budget(key="a", capacity=MOST_UNITS, refill_per_second=amount / every)
    often, once = Level(0), Level(0)
    now = 0
    for level in (often, once):
        level.spend(MOST_UNITS)
    for step in steps:
        now += step
        often.refill(budget, now)
    once.refill(budget, now)
    assert often.used == once.used == max(MOST_UNITS - int(Fraction(amount * now, every * 1_000_000)), 0)


def test_asked_for_a_year_it_does_not_drift() -> None:
    budget, level = Budget(key="a", capacity=MOST_UNITS, refill_per_second=1 / 3), Level(0)
    level.spend(MOST_UNITS)
    year = 365 * 86_400 * 1_000_000
    for now in range(0, year, 997_000_003):
        level.refill(budget, now)
    level.refill(budget, year)
    assert MOST_UNITS - level.used == 365 * 86_400 // 3


def test_a_whole_budget_saves_nothing_up() -> None:
    budget, level = Budget(key="a", capacity=5, refill_per_second=0.5), Level(0)
    level.refill(budget, 1_900_000)
    level.spend(1)
    level.refill(budget, 3_800_000)  # 1.9 s since it was spent
    assert level.used == 1
    level.refill(budget, 3_900_000)
    assert level.used == 0
    level.spend(-3)
    level.spend(1)
    assert level.used == 1


def test_a_clock_that_goes_back_brings_nothing_twice() -> None:
    budget, level = Budget(key="a", capacity=100, refill_per_second=1.0), Level(10_000_000)
    level.spend(100)
    for now in (20_000_000, 12_000_000, 20_000_000):
        level.refill(budget, now)
    assert level.used == 90


def test_what_had_come_back_of_a_unit_is_let_go_when_the_rate_changes() -> None:
    level = Level(0)
    level.spend(10)
    level.refill(Budget(key="a", capacity=10, refill_per_second=0.5), 1_000_000)
    level.refill(Budget(key="a", capacity=10, refill_per_second=0.25), 4_999_999)
    assert level.used == 10
    level.refill(Budget(key="a", capacity=10, refill_per_second=0.25), 5_000_000)
    assert level.used == 9
