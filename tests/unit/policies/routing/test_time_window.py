from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest

from policies.routing.time_window import TimeWindow, TimeWindowSettings, Window
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.routing.ranking import Clock, names

REPLICAS = [make_replica("own", backend="vllm"), make_replica("night", backend="ktransformers")]


def open_at(window: Window, *local: int) -> bool:
    """At a local time of the window's zone: year, month, day, hour, minute."""
    zone = zoneinfo.ZoneInfo(window.time_zone)
    clock = Clock(dt.datetime(*local, tzinfo=zone).timestamp())  # type: ignore[arg-type, misc]
    left = names(TimeWindow(TimeWindowSettings(windows=[window]), clock), make_call(), REPLICAS)
    assert left[0] == "own"
    return left == ["own", "night"]


def hours(from_: str = "00:00", to: str = "24:00", **more: object) -> Window:
    return Window(replicas=["night"], from_=from_, to=to, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("clock", "is_open"), [((7, 59), False), ((8, 0), True), ((16, 59), True), ((17, 0), False)])
def test_the_end_is_not_included(clock: tuple[int, int], is_open: bool) -> None:
    assert open_at(hours("08:00", "17:00"), 2026, 11, 23, *clock) is is_open


@pytest.mark.parametrize(("clock", "is_open"), [((21, 59), False), ((22, 0), True), ((5, 59), True), ((6, 0), False)])
def test_hours_may_pass_midnight(clock: tuple[int, int], is_open: bool) -> None:
    assert open_at(hours("22:00", "06:00"), 2026, 11, 23, *clock) is is_open


def test_days_are_those_on_which_the_hours_begin() -> None:
    friday_night = hours("22:00", "06:00", days=["fri"])
    assert open_at(friday_night, 2026, 11, 27, 23, 0)
    assert open_at(friday_night, 2026, 11, 28, 5, 0)
    assert not open_at(friday_night, 2026, 11, 28, 23, 0)
    assert not open_at(friday_night, 2026, 11, 27, 5, 0)


def test_a_whole_day_is_from_an_hour_to_itself() -> None:
    assert open_at(hours("06:00", "06:00", days=["sat"]), 2026, 11, 29, 5, 59)
    assert not open_at(hours("06:00", "06:00", days=["sat"]), 2026, 11, 29, 6, 0)


def test_hours_go_by_the_zone_s_own_clock_in_summer_and_in_winter() -> None:
    berlin = hours("08:00", "17:00", time_zone="Europe/Berlin")
    for month in (1, 7):
        assert open_at(berlin, 2026, month, 15, 8, 0)
        assert not open_at(berlin, 2026, month, 15, 7, 59)
    at_seven_utc = Clock(dt.datetime(2026, 7, 15, 6, 30, tzinfo=dt.UTC).timestamp())
    assert len(names(TimeWindow(TimeWindowSettings(windows=[berlin]), at_seven_utc), make_call(), REPLICAS)) == 2
    at_seven_utc.now = dt.datetime(2026, 1, 15, 6, 30, tzinfo=dt.UTC).timestamp()
    assert len(names(TimeWindow(TimeWindowSettings(windows=[berlin]), at_seven_utc), make_call(), REPLICAS)) == 1


def test_one_in_several_windows_exists_in_each() -> None:
    clock = Clock(dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC).timestamp())
    windows = [hours("08:00", "09:00"), hours("11:00", "13:00")]
    assert len(names(TimeWindow(TimeWindowSettings(windows=windows), clock), make_call(), REPLICAS)) == 2


def test_a_backend_s_name_stands_for_all_that_have_it_and_the_clock_is_looked_at_again() -> None:
    clock = Clock(dt.datetime(2026, 11, 23, 7, 59, 59, tzinfo=dt.UTC).timestamp())
    window = Window(replicas=["ktransformers"], from_="08:00", to="09:00")
    policy = TimeWindow(TimeWindowSettings(windows=[window]), clock)
    assert names(policy, make_call(), REPLICAS) == ["own"]
    clock.now += 1.0
    assert names(policy, make_call(), REPLICAS) == ["own", "night"]


def test_a_zone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone is called 'Mars/Olympus'"):
        hours(time_zone="Mars/Olympus")
