"""Keeps a snapshot as the database is: one cheap question every so often, and what has changed since; nobody waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import RowMapping, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from plugins.tenants import tables
from plugins.tenants.editing import DATABASE_ERRORS, reason_of
from plugins.tenants.snapshot import ROWS_AT_ONCE, Rows, Snapshot

log = structlog.get_logger("moegate.tenants")

QUESTION_SECONDS = 2.0
LOAD_SECONDS = 60.0


class Refreshing:
    """Reads the tables of one database into one snapshot.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, engine: AsyncEngine, snapshot: Snapshot, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self.snapshot = snapshot
        self._clock = clock
        self._lost = False

    async def run(self, poll_seconds: float) -> None:
        """Go on until cancelled; sooner than it would be time when `Snapshot.changed` is set."""
        while True:
            await self.refresh()
            try:
                async with asyncio.timeout(poll_seconds):
                    await self.snapshot.changed.wait()
            except TimeoutError:
                pass
            self.snapshot.changed.clear()

    async def refresh(self) -> bool:
        """Read what has changed; False if the database cannot be asked: then what is known stays, which is logged once."""
        try:
            async with self.snapshot.reading:
                asked_at = self._clock()
                await self._read()
                self.snapshot.heard_at = asked_at
        except DATABASE_ERRORS as error:
            if not self._lost:
                log.warning("the database is lost; what is known of keys still holds", reason=reason_of(error))
            self._lost = True
            return False
        if self._lost:
            log.info("the database is back")
        self._lost = False
        return True

    async def _read(self) -> None:
        seen = self.snapshot.revision
        async with asyncio.timeout(QUESTION_SECONDS) as patience, self._engine.connect() as connection:
            revision = await connection.scalar(select(tables.revisions.c.value))
            if revision is None or revision == seen:
                return
            patience.reschedule(asyncio.get_running_loop().time() + LOAD_SECONDS)
            # A revision that went back is another database, or an older copy of it.
            rows = await _rows(connection, revision, 0 if revision < seen or not self.snapshot.loaded else seen)
        await self.snapshot.take(rows)


async def _rows(connection: AsyncConnection, revision: int, seen: int) -> Rows:
    async def newer(table: Table) -> Sequence[RowMapping]:
        query = select(table).where(table.c.revision > seen)
        if table is tables.keys and not seen:
            query = query.where(table.c.revoked_at.is_(None))
        found: list[RowMapping] = []
        async with connection.stream(query.execution_options(yield_per=ROWS_AT_ONCE)) as streamed:
            async for some in streamed.mappings().partitions():
                found += some
        return found

    keys = await newer(tables.keys)
    teams = await newer(tables.teams)
    tenants = await newer(tables.tenants)
    return Rows(revision, not seen, tenants, teams, keys)
