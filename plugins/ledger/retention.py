"""Removes calls that have been kept long enough, a few at a time; their daily sums stay."""

from __future__ import annotations

import asyncio

from sqlalchemy import Table, delete, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.elements import ColumnElement

from plugins.ledger import tables
from plugins.ledger.settings import LedgerSettings
from plugins.ledger.sums import DAY_MS

ROWS_AT_ONCE = 5_000

# Losses and the places of journals that nobody removed are of no use for longer.
LOSSES_DAYS = 3_650
JOURNALS_DAYS = 400


async def retain(engine: AsyncEngine, settings: LedgerSettings, now_ms: int) -> int:
    """Remove what is too old; how many rows. Calls go by whole days, so that those of a day are all there or all gone."""
    today = now_ms // DAY_MS
    calls, users, losses, journals = tables.calls.c, tables.user_days.c, tables.losses.c, tables.journals.c
    removed = 0
    if settings.retention_days is not None:
        before = (today - settings.retention_days) * DAY_MS
        removed += await _remove(engine, tables.calls, calls.received_at < before)
    if settings.user_retention_days is not None:
        removed += await _remove(engine, tables.user_days, users.day < today - settings.user_retention_days)
    removed += await _remove(engine, tables.losses, losses.until < (today - LOSSES_DAYS) * DAY_MS)
    removed += await _remove(engine, tables.journals, journals.shipped_at < (today - JOURNALS_DAYS) * DAY_MS)
    return removed


async def _remove(engine: AsyncEngine, table: Table, old: ColumnElement[bool]) -> int:
    """In short transactions, so that nobody waits long for their locks."""
    (key, *_) = table.primary_key.columns
    some = select(key).where(old).limit(ROWS_AT_ONCE)
    removed = 0
    while True:
        async with engine.begin() as connection:
            count = (await connection.execute(delete(table).where(key.in_(some), old))).rowcount
        removed += count
        if count < ROWS_AT_ONCE:
            return removed
        await asyncio.sleep(0)
