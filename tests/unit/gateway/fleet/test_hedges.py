from __future__ import annotations

import pytest

from gateway.fleet.hedges import LEAST_TIMES, Hedges, RecentTimes
from gateway.settings import HedgeSettings


def test_nobody_knows_what_late_is_before_there_are_some() -> None:
    times = RecentTimes()
    for _ in range(LEAST_TIMES - 1):
        times.add(1.0)
    assert times.late() is None
    times.add(1.0)
    assert times.late() == 1.0


def test_late_is_what_five_of_a_hundred_are() -> None:
    times = RecentTimes()
    for number in range(100):
        times.add(float((number * 37) % 100))
    assert times.late() == 95.0


def test_what_is_late_follows_the_last_ones() -> None:
    times = RecentTimes()
    for seconds in (9.0, 1.0):
        for _ in range(300):
            times.add(seconds)
    assert times.late() == 1.0


@pytest.mark.parametrize(("seconds", "delay"), [(0.1, 2.0), (5.0, 5.0)])
def test_there_is_a_floor(seconds: float, delay: float) -> None:
    hedges = Hedges(HedgeSettings(enabled=True, floor_seconds=2.0))
    for _ in range(LEAST_TIMES):
        hedges.note("a", seconds)
    assert hedges.delay("a") == delay
    assert hedges.delay("b") is None
