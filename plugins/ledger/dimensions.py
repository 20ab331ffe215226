"""What usage can be grouped by and restricted to, and which table knows it; no query is run here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Integer, Table, case, cast, func, literal

from gateway.errors import InvalidRequest
from plugins.ledger import tables
from plugins.ledger.sums import DAY_MS

HOUR_MS = 3_600_000

# Names as people know them, where the column's is another.
_COLUMNS = {"key": "key_id", "user": "user_id", "error": "error_code", "status_code": "status"}
_TEXTS = (
    *("tenant", "team", "key", "user", "operation", "model", "checkpoint", "revision", "backend", "replica"),
    *("ending", "error", "finish_reason", "arm", "attribution", "currency"),
)
_FLAGS = ("streamed", "estimated")
TIMES = ("month", "day", "hour")

# From the quickest to the one that knows all.
SOURCES = (tables.days, tables.user_days, tables.calls)

DIMENSIONS = (*TIMES, *_TEXTS, "status", "status_code", *_FLAGS)


class Period(Struct, frozen=True):
    """Milliseconds since 1970, UTC; `until` is no longer in it."""

    since: int
    until: int

    @property
    def whole_days(self) -> bool:
        """Whether daily sums can answer for it."""
        return self.since % DAY_MS == 0 and self.until % DAY_MS == 0


def source_for(names: set[str], period: Period) -> Table:
    """The quickest table that knows all of these."""
    return next(
        table
        for table in SOURCES
        if (period.whole_days or table is tables.calls) and all(_knows(table, n) for n in names)
    )


def _knows(table: Table, name: str) -> bool:
    if name in ("month", "day"):
        return True
    if name == "status":
        return table is not tables.user_days
    if name in ("hour", "status_code"):
        return table is tables.calls
    return _COLUMNS.get(name, name) in table.c


def expression(table: Table, name: str, period: Period) -> ColumnElement[Any]:
    """The dimension as SQL; numbers for times and classes of status, see `shown`."""
    if name == "day":
        return _day(table)
    if name == "hour":
        return table.c.received_at // literal(HOUR_MS)
    if name == "month":
        return _month(_day(table), period)
    if name == "status":
        return table.c.status_class if "status_class" in table.c else table.c.status // literal(100)
    return table.c[_COLUMNS.get(name, name)]


def _day(table: Table) -> ColumnElement[Any]:
    return table.c.day if "day" in table.c else table.c.received_at // literal(DAY_MS)


def _month(day: ColumnElement[Any], period: Period) -> ColumnElement[Any]:
    """The number of the month, 12 times the year: by the days at which the months of the period end."""
    year, month = _year_and_month(period.since)
    number, ends = year * 12 + month - 1, []
    while (start := _first_day(number + 1)) * DAY_MS < period.until:
        ends.append((day < start, literal(number)))
        number += 1
    return case(*ends, else_=literal(number)) if ends else cast(literal(number), Integer)


def _year_and_month(ms: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(ms / 1_000, UTC)
    return moment.year, moment.month


def _first_day(month: int) -> int:
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000 // DAY_MS


def shown(name: str, value: Any) -> str:
    """A value of a dimension for people and programs."""
    show = _SHOWN.get(name)
    return str(value) if show is None else show(value)


def _flag(value: Any) -> str:
    return "true" if value else "false"


_SHOWN: Mapping[str, Callable[[Any], str]] = {
    "month": lambda value: f"{int(value) // 12:04}-{int(value) % 12 + 1:02}",
    "day": lambda value: datetime.fromtimestamp(int(value) * 86_400, UTC).strftime("%Y-%m-%d"),
    "hour": lambda value: datetime.fromtimestamp(int(value) * 3_600, UTC).strftime("%Y-%m-%dT%H:00Z"),
    "status": lambda value: f"{int(value)}xx",
    "streamed": _flag,
    "estimated": _flag,
}


def restriction(table: Table, name: str, values: tuple[str, ...]) -> ColumnElement[bool]:
    """Only rows with one of these values.

    Raises:
        InvalidRequest: a value cannot be one of this dimension's.
    """
    column = expression(table, name, Period(0, 0))
    if name in _TEXTS:
        return column.in_(values)
    read = {"status": _read_class, "status_code": _read_code}.get(name, _read_flag)
    return column.in_([read(name, value) for value in values])


def _read_class(name: str, value: str) -> int:
    if len(value) == 3 and value[1:] == "xx" and value[0] in "12345":  # noqa: PLR2004 - as in 2xx
        return int(value[0])
    raise InvalidRequest(f"{name} must be one of 1xx to 5xx, not {value[:40]!r}.", param=name)


def _read_code(name: str, value: str) -> int:
    if value.isascii() and value.isdigit() and len(value) == 3:  # noqa: PLR2004 - as in 200
        return int(value)
    raise InvalidRequest(f"{name} must be an HTTP status such as 429, not {value[:40]!r}.", param=name)


def _read_flag(name: str, value: str) -> bool:
    if value in ("true", "false"):
        return value == "true"
    raise InvalidRequest(f"{name} must be true or false, not {value[:40]!r}.", param=name)


def measures(table: Table) -> list[ColumnElement[Any]]:
    """The sums, in the order of `tables.SUMS`."""
    if table is not tables.calls:
        return [func.sum(table.c[name]) for name in tables.SUMS]
    columns = table.c
    tokens = func.coalesce(columns.prompt_tokens, 0) + func.coalesce(columns.completion_tokens, 0)
    special: dict[str, ColumnElement[Any]] = {
        "calls": func.count(),
        "estimated_calls": func.sum(case((columns.estimated, 1), else_=0)),
        "unpriced_calls": func.sum(case((columns.cost_nanos.is_(None), 1), else_=0)),
        "estimated_tokens": func.sum(case((columns.estimated, tokens), else_=0)),
        "estimated_cost_nanos": func.sum(case((columns.estimated, columns.cost_nanos), else_=0)),
        "first_byte_calls": func.count(columns.first_byte_us),
    }
    return [special[name] if name in special else func.sum(columns[name]) for name in tables.SUMS]
