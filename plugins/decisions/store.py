"""Sampled calls in the database: writes them, finds one, and removes those that were kept long enough."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]
from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from plugins.decisions.recent import Row
from plugins.decisions.tables import calls

# What a database that is down, or going down, may raise.
OUTAGES = (SQLAlchemyError, PostgresError, InterfaceError, OSError, TimeoutError)

DAY_MS = 86_400_000
ROWS_AT_ONCE = 500
_COLUMNS = ("call_id", "received_at", "model", "record")


async def write(engine: AsyncEngine, rows: Sequence[Row]) -> None:
    """Write rows; those that are there already are left alone.

    Raises:
        one of OUTAGES: none was written.
    """
    insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(calls).on_conflict_do_nothing()
    async with engine.begin() as connection:
        await connection.execute(insert, [dict(zip(_COLUMNS, row, strict=True)) for row in rows])


async def find(engine: AsyncEngine, call_id: str) -> str | None:
    """The record of a call as JSON; None if it is not there.

    Raises:
        one of OUTAGES.
    """
    async with engine.connect() as connection:
        found = await connection.execute(select(calls.c.record).where(calls.c.call_id == call_id))
        record: str | None = found.scalar()
        return record


async def retain(engine: AsyncEngine, days: int, now: float) -> int:
    """Remove what is older than so many days, a few at a time; how many rows. `now` in seconds since 1970.

    Raises:
        one of OUTAGES.
    """
    before = int(now * 1_000) - days * DAY_MS
    some = select(calls.c.call_id).where(calls.c.received_at < before).limit(ROWS_AT_ONCE)
    removed = 0
    while True:
        async with engine.begin() as connection:
            count = (await connection.execute(delete(calls).where(calls.c.call_id.in_(some)))).rowcount
        removed += count
        if count < ROWS_AT_ONCE:
            return removed
