"""Reads what is asked of usage, from a command line or a URL alike, and says what is wrong with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from gateway.errors import InvalidRequest
from plugins.ledger.dimensions import DIMENSIONS, TIMES, Period
from plugins.ledger.sums import DAY_MS

MOST_DAYS = 3_700
MOST_ROWS = 10_000
ROWS = 1_000
MOST_VALUES = 50
MOST_CHARACTERS = 1_000


class UsageQuery(Struct, frozen=True):
    """What is asked: how to group, which values of dimensions only, and how many rows at most."""

    period: Period
    by: tuple[str, ...]
    only: Mapping[str, tuple[str, ...]]
    limit: int = ROWS


def read_query(
    since: str | None, until: str | None, by: str, only: Mapping[str, Sequence[str]], limit: int, *, now: float
) -> UsageQuery:
    """Read a query.

    Args:
        since: the first moment, a date or a time in UTC; the start of this month by default.
        until: the first moment that no longer counts; the end of today by default.
        by: names of dimensions with commas between.
        only: by dimension, the values to count.
        limit: rows, at most.
        now: seconds since 1970.

    Raises:
        InvalidRequest: with the parameter to blame, and what it may be.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    period = Period(
        _ms(today.replace(day=1)) if since is None else _moment("from", since),
        _ms(today + timedelta(days=1)) if until is None else _moment("to", until),
    )
    if period.since >= period.until:
        raise InvalidRequest("`from` must be before `to`; `to` itself is no longer counted.", param="from")
    if period.until - period.since > MOST_DAYS * DAY_MS:
        raise InvalidRequest(f"A period may have {MOST_DAYS} days at most.", param="from")
    if not 1 <= limit <= MOST_ROWS:
        raise InvalidRequest(f"`limit` must be between 1 and {MOST_ROWS}.", param="limit")
    names = [name.strip() for name in by.split(",") if name.strip()]
    for name in names:
        _check("by", name, DIMENSIONS)
    if len(set(names)) < len(names):
        raise InvalidRequest("A dimension stands twice.", param="by")
    for name, values in only.items():
        _check(name, name, [each for each in DIMENSIONS if each not in TIMES])
        if len(values) > MOST_VALUES or any(len(value) > MOST_CHARACTERS for value in values):
            raise InvalidRequest(f"{MOST_VALUES} values of {MOST_CHARACTERS} characters at most.", param=name)
    return UsageQuery(period, tuple(names), {name: tuple(values) for name, values in only.items()}, limit)


def read_month(month: str) -> Period:
    """The period of a month such as 2026-11.

    Raises:
        InvalidRequest: it is none.
    """
    if re.fullmatch(r"\d{4}-\d{2}", month, re.ASCII):
        try:
            first = date.fromisoformat(f"{month}-01")
            return Period(_ms(first), _ms((first + timedelta(days=31)).replace(day=1)))
        except (ValueError, OverflowError):
            pass
    raise InvalidRequest(f"`month` must be a month such as 2026-11, not {month[:40]!r}.", param="month")


def _check(param: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name[:40], known, n=3) or known
        raise InvalidRequest(f"There is no dimension {name[:40]!r} here; there is {', '.join(near)}.", param=param)


def _moment(param: str, text: str) -> int:
    """A date, or a date and time; a time that names no zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return max(round(moment.timestamp() * 1_000), 0)
    except (ValueError, OverflowError):
        example = "a date such as 2026-11-30, or a time such as 2026-11-30T12:00:00Z"
        raise InvalidRequest(f"`{param}` must be {example}, not {text[:40]!r}.", param=param) from None


def _ms(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_MS
