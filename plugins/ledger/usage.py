"""Answers what was used: from daily sums where they know enough, else from the calls; and says what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Select, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.errors import GatewayError
from plugins.ledger import tables
from plugins.ledger.asked import UsageQuery, read_month
from plugins.ledger.dimensions import Period, expression, measures, restriction, shown, source_for
from plugins.ledger.store import OUTAGES
from plugins.ledger.sums import DAY_MS

ANSWER_SECONDS = 60.0
NANOS = Decimal(10**9)

Cell = str | int | float | None
Line = dict[str, Cell]


class LedgerUnavailable(GatewayError):
    """The database of the ledger does not answer."""

    status = 503
    code = "database_unavailable"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message


class Report(Struct, frozen=True):
    """An answer.

    Attributes:
        since, until: the period, as times in UTC; `until` is no longer in it.
        source: the table that it comes from.
        lines: in the order of the dimensions; costs of different currencies are never added.
        totals: of all lines, those too that were left off; one for each currency.
        truncated: there would be more lines.
        notes: what must be known to trust it.
    """

    since: str
    until: str
    source: str
    lines: list[Line]
    totals: list[Line]
    truncated: bool
    notes: list[str]


async def usage(engine: AsyncEngine, query: UsageQuery) -> Report:
    """Sum up.

    Raises:
        InvalidRequest: a value does not fit its dimension.
        LedgerUnavailable: the database does not answer, or not in time.
    """
    # Costs in different currencies cannot be added, so it is always among the dimensions, the last one.
    by = (*(name for name in query.by if name != "currency"), "currency")
    table = source_for({*by, *query.only}, query.period)
    grouped = _sums(table, query, by).limit(query.limit + 1)
    try:
        async with asyncio.timeout(ANSWER_SECONDS), engine.connect() as connection:
            rows = [tuple(row) for row in await connection.execute(grouped)]
            truncated = len(rows) > query.limit
            # Only if lines are left off is there more to sum up than what is here.
            every = await connection.execute(_sums(table, query, ("currency",))) if truncated else rows
            totals = _totals([tuple(row) for row in every])
            notes = await _notes(connection, table, query.period)
    except OUTAGES as error:
        raise LedgerUnavailable(f"The ledger's database does not answer ({type(error).__name__}).") from error
    if truncated:
        notes.append(f"There are more than {query.limit} lines; the totals are of all.")
    lines = [_line(by, row) for row in rows[: query.limit]]
    since, until = _time(query.period.since), _time(query.period.until)
    return Report(since, until, str(table.name), lines, totals, truncated, notes)


async def statement(engine: AsyncEngine, tenant: str, month: str, *, now: float) -> Report:
    """What a tenant used in a month, by model: tokens by class, cost, and how much of it is estimated.

    Raises:
        InvalidRequest: there is no such month.
        LedgerUnavailable: as for `usage`.
    """
    period = read_month(month)
    report = await usage(engine, UsageQuery(period, ("model",), {"tenant": (tenant,)}, limit=10_000))
    if period.until > now * 1_000:
        report.notes.append("The month is not over.")
    return Report(
        *(report.since, report.until, report.source),
        [_stated(line) for line in report.lines],
        [_stated(line) for line in report.totals],
        *(report.truncated, report.notes),
    )


def _sums(table: Table, query: UsageQuery, by: Sequence[str]) -> Select[Any]:
    groups = [expression(table, name, query.period).label(f"d{place}") for place, name in enumerate(by)]
    wanted = [restriction(table, name, values) for name, values in query.only.items()]
    return (
        select(*groups, *measures(table))
        .where(_within(table, query.period), *wanted)
        .group_by(*(group.name for group in groups))
        .order_by(*(group.name for group in groups))
    )


def _within(table: Table, period: Period) -> ColumnElement[bool]:
    if table is tables.calls:
        return (table.c.received_at >= period.since) & (table.c.received_at < period.until)
    return (table.c.day >= period.since // DAY_MS) & (table.c.day < period.until // DAY_MS)


def _totals(rows: Sequence[tuple[Any, ...]]) -> list[Line]:
    """One line a currency, which is the last dimension of each row."""
    count = len(tables.SUMS)
    totals: dict[str, list[int]] = {}
    for row in rows:
        sums = totals.setdefault(row[-count - 1], [0] * count)
        totals[row[-count - 1]] = [total + int(value or 0) for total, value in zip(sums, row[-count:], strict=True)]
    return [_line(("currency",), (currency, *totals[currency])) for currency in sorted(totals)]


def _line(by: Sequence[str], row: tuple[Any, ...]) -> Line:
    sums = dict(zip(tables.SUMS, (int(value or 0) for value in row[len(by) :]), strict=True))
    calls, first_bytes = sums["calls"], sums["first_byte_calls"]
    return {
        **{name: shown(name, value) for name, value in zip(by, row, strict=False)},
        "calls": calls,
        "prompt_tokens": sums["prompt_tokens"],
        "cached_tokens": sums["cached_tokens"],
        "completion_tokens": sums["completion_tokens"],
        "reasoning_tokens": sums["reasoning_tokens"],
        "total_tokens": sums["prompt_tokens"] + sums["completion_tokens"],
        "estimated_calls": sums["estimated_calls"],
        "estimated_tokens": sums["estimated_tokens"],
        "cost": _money(sums["cost_nanos"]),
        "estimated_cost": _money(sums["estimated_cost_nanos"]),
        "unpriced_calls": sums["unpriced_calls"],
        "mean_total_ms": round(sums["total_us"] / calls / 1_000, 3) if calls else None,
        "mean_first_byte_ms": round(sums["first_byte_us"] / first_bytes / 1_000, 3) if first_bytes else None,
    }


def _stated(line: Line) -> Line:
    """A line of a statement: the classes of tokens do not overlap, and what is estimated is a share."""
    prompt, cached, output = (int(line[name] or 0) for name in ("prompt_tokens", "cached_tokens", "completion_tokens"))
    cost, estimated_cost = Decimal(str(line["cost"])), Decimal(str(line["estimated_cost"]))
    tokens, estimated = int(line["total_tokens"] or 0), int(line["estimated_tokens"] or 0)
    return {
        **({"model": line["model"]} if "model" in line else {}),
        "currency": line["currency"],
        "calls": line["calls"],
        "input_tokens": prompt - cached,
        "cached_input_tokens": cached,
        "output_tokens": output,
        "reasoning_tokens_of_output": line["reasoning_tokens"],
        "cost": line["cost"],
        "unpriced_calls": line["unpriced_calls"],
        "estimated_share_of_tokens": round(estimated / tokens, 6) if tokens else 0.0,
        "estimated_share_of_cost": float(round(estimated_cost / cost, 6)) if cost else 0.0,
    }


def _money(nanos: int) -> str:
    """Exact, as a decimal fraction: money is no floating-point number."""
    return f"{Decimal(nanos) / NANOS:.9f}"


async def _notes(connection: AsyncConnection, table: Table, period: Period) -> list[str]:
    notes = []
    if table is tables.calls:
        oldest = (await connection.execute(select(func.min(tables.calls.c.received_at)))).scalar()
        # Calls go by whole days, so the day of the oldest one is all there.
        gone_until = -(-period.until // DAY_MS) if oldest is None or oldest > period.until else oldest // DAY_MS
        before = tables.days.c.day < gone_until
        if oldest is None or period.since < oldest:
            query = select(tables.days.c.day).where(tables.days.c.day >= period.since // DAY_MS, before).limit(1)
            if (await connection.execute(query)).first() is not None:
                kept = "none" if oldest is None else f"those from {_time(oldest)} on"
                notes.append(
                    f"Not all calls of this period are kept one by one ({kept}): older ones are missing here. Ask for "
                    "whole days, and by what daily sums know."
                )
    losses = tables.losses.c
    missing = (
        select(losses.kind, func.count(), func.sum(losses.calls))
        .where(losses.until >= period.since, losses.since < period.until)
        .group_by(losses.kind)
        .order_by(losses.kind)
    )
    for kind, places, calls in await connection.execute(missing):
        notes.append(_MISSING[kind].format(places=int(places), calls=int(calls or 0)))
    return notes


_MISSING = {
    "damaged": "The journal was damaged in {places} places: the calls that were written there are missing.",
    "lost": "{calls} calls are missing, because the journal was full.",
    "refused": "{calls} calls were refused because the journal was full; they are not listed, and used nothing.",
    "set_aside": "{calls} calls are missing, because the database did not take them; they are kept beside the journal.",
    "torn": "A process was killed {places} times while it wrote a call down: that call is missing.",
    "unreadable": "{places} entries of the journal are of another version and missing.",
}


def _time(ms: int) -> str:
    return shown("day", ms // DAY_MS) if ms % DAY_MS == 0 else _exact(ms)


def _exact(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
