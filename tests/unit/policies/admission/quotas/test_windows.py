from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from policies.admission.quotas.windows import Calendar, Period, Window


def window(period: Period, zone: str, *moment: int, fold: int = 0) -> Window:
    tz = ZoneInfo(zone)
    return Calendar(period, tz).window(dt.datetime(*moment, tzinfo=tz, fold=fold).timestamp())


def hours(found: Window) -> float:
    return (found.end - found.start) / 3_600


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("UTC", (2026, 3, 29), 24),
        ("Europe/Oslo", (2026, 3, 29), 23),
        ("Europe/Oslo", (2026, 10, 25), 25),
        ("Asia/Kolkata", (2026, 3, 29), 24),
        ("Africa/Cairo", (2026, 4, 24), 23),  # where the clocks skip midnight
        ("America/Havana", (2026, 11, 1), 25),  # where midnight comes twice
    ],
)
def test_a_day_is_as_long_as_its_clocks_make_it(zone: str, day: tuple[int, int, int], length: int) -> None:
    noon = window("day", zone, *day, 12)
    assert hours(noon) == length
    assert noon == window("day", zone, *day, 23, 59, 59, fold=1)
    assert Calendar("day", ZoneInfo(zone)).window(noon.start) == noon
    assert Calendar("day", ZoneInfo(zone)).window(noon.end).start == noon.end
    assert Calendar("day", ZoneInfo(zone)).window(noon.start - 1).end == noon.start


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    first = window("hour", "Europe/Oslo", 2026, 10, 25, 2, 30, fold=0)
    second = window("hour", "Europe/Oslo", 2026, 10, 25, 2, 30, fold=1)
    assert first.end == second.start
    assert hours(first) == hours(second) == 1


def test_a_month_begins_in_its_own_time_zone() -> None:
    utc, tokyo = (window("month", zone, 2026, 2, 10) for zone in ("UTC", "Asia/Tokyo"))
    assert hours(utc) == hours(tokyo) == 28 * 24
    assert utc.start - tokyo.start == 9 * 3_600


def test_december_is_followed_by_january() -> None:
    december = window("month", "UTC", 2026, 12, 31, 23, 59)
    assert december.end == window("month", "UTC", 2027, 1, 1).start


@pytest.mark.parametrize("period", ["hour", "day", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo", "Australia/Lord_Howe", "America/Havana"])
def test_windows_follow_each_other_without_a_gap(period: Period, zone: str) -> None:
    calendar = Calendar(period, ZoneInfo(zone))
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
    while now < dt.datetime(2027, 1, 1, tzinfo=dt.UTC).timestamp():
        found = calendar.window(now)
        assert found.start <= now < found.end
        now = found.end
