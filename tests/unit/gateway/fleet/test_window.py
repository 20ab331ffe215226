from __future__ import annotations

import pytest

from gateway.fleet.window import SlidingCounts


def test_what_happened_within_the_window_is_counted() -> None:
    counts = SlidingCounts(10.0)
    for second in range(100, 105):
        counts.add(second, 1, 2)
    assert (counts.first, counts.second) == (5, 10)


@pytest.mark.parametrize(("later", "left"), [(8.9, 3), (9.5, 3), (10.1, 2), (11.1, 1), (12.1, 0), (1e6, 0)])
def test_what_is_older_than_the_window_is_forgotten(later: float, left: int) -> None:
    counts = SlidingCounts(10.0)
    for second in (0.0, 1.0, 2.0):
        counts.add(1_000.0 + second, 1, 1)
    counts.slide(1_000.0 + later)
    assert (counts.first, counts.second) == (left, left)


def test_what_is_taken_back_is_gone_and_nothing_is_below_zero() -> None:
    counts = SlidingCounts(10.0)
    counts.add(1_000.0, 1, 0)
    counts.add(1_005.0, -1, 1)
    assert (counts.first, counts.second) == (0, 1)
    counts.slide(1_012.0)  # what was taken back from is forgotten first
    assert (counts.first, counts.second) == (0, 1)


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    counts = SlidingCounts(10.0)
    counts.add(1_000.0, 1, 0)
    counts.add(990.0, 1, 0)
    assert counts.first == 2


def test_clear_forgets_all() -> None:
    counts = SlidingCounts(10.0)
    counts.add(1_000.0, 4, 5)
    counts.clear()
    counts.add(1_000.5, 1, 0)
    assert (counts.first, counts.second) == (1, 0)
