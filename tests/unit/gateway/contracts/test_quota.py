"""What is wrong with a limit is found when it is written down, wherever that is, and not when a call is counted."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gateway import Dimension, Limit


def limit(**said: Any) -> Limit:
    return Limit(**{"name": "a", "dimension": Dimension.REQUESTS, "amount": 1.0, "every": "minute", **said})


WEIGHTED: dict[str, Any] = {"dimension": Dimension.WEIGHTED_TOKENS}
AT_ONCE: dict[str, Any] = {"dimension": Dimension.CONCURRENT_STREAMS, "every": None}
CALENDAR: dict[str, Any] = {"every": "day", "window": "calendar"}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"burst": 5.0},
        {"amount": 2.0**52},
        {"every": "month"},
        {"time_zone": "nowhere, and of no matter to a bucket"},
        {"dimension": Dimension.COST, "amount": 1e-9},
        {**WEIGHTED, "amount": 0.001},
        {**WEIGHTED, "weights": {"output": 0.001}},
        AT_ONCE,
        {**AT_ONCE, "dimension": Dimension.CONCURRENT_CALLS},
        {**CALENDAR, "time_zone": "Europe/Oslo"},
        {**CALENDAR, "every": "hour"},
    ],
)
def test_what_can_be_counted_has_no_problems(said: dict[str, Any]) -> None:
    assert list(limit(**said).problems()) == []


@pytest.mark.parametrize(
    ("said", "field", "says"),
    [
        ({"every": None}, "every", "missing"),
        ({"amount": 0.4}, "amount", "less than the smallest part of requests"),
        ({"amount": 1.5}, "amount", "a whole number"),
        ({"amount": 1e18}, "amount", "more than can be counted"),
        ({"amount": math.inf}, "amount", "finite"),
        ({"amount": math.nan}, "amount", "finite"),
        ({"burst": 0.4}, "burst", "less than the smallest part of requests"),
        ({"burst": math.inf}, "burst", "finite"),
        ({"dimension": Dimension.COST, "amount": 4e-10}, "amount", "smallest part of cost"),
        ({"dimension": Dimension.COST, "amount": 1e7}, "amount", "more than can be counted"),
        ({**AT_ONCE, "every": "day"}, "every", "while they last"),
        ({**AT_ONCE, "burst": 2.0}, "burst", "no `burst`"),
        ({**AT_ONCE, "window": "calendar"}, "window", "no `window`"),
        ({**AT_ONCE, "amount": 1.5}, "amount", "a whole number"),
        ({"window": "calendar"}, "every", "an hour, a day or a month"),
        ({**CALENDAR, "burst": 5.0}, "burst", "no `burst`"),
        ({**CALENDAR, "time_zone": "Europe/Nowhere"}, "time_zone", "no time zone is called 'Europe/Nowhere'"),
        ({**CALENDAR, "time_zone": "../etc/passwd"}, "time_zone", "no time zone"),
        ({**CALENDAR, "time_zone": ""}, "time_zone", "no time zone"),
        ({**WEIGHTED, "weights": {"input": -1.0}}, "weights", "not negative"),
        ({**WEIGHTED, "weights": {}}, "weights", "not all zero"),
        ({**WEIGHTED, "weights": {"input": 0.0004}}, "weights", "not all zero"),
        ({**WEIGHTED, "weights": {"input": math.nan, "output": 1.0}}, "weights", "finite"),
    ],
)
def test_each_problem_blames_a_field(said: dict[str, Any], field: str, says: str) -> None:
    ((blamed, why),) = limit(**said).problems()
    assert blamed == field
    assert says in why


def test_all_problems_of_a_limit_are_told_at_once() -> None:
    faulty = limit(amount=0.4, **{**CALENDAR, "every": "second", "burst": 3.0, "time_zone": "Mars/One"})
    assert [field for field, _ in faulty.problems()] == ["amount", "burst", "every", "time_zone"]
