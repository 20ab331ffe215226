"""Takes batches into the database: calls, their daily sums, losses and the journal's place, all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]
from msgspec import Struct
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from plugins.ledger import tables
from plugins.ledger.folders import Position
from plugins.ledger.reading import Batch, Loss
from plugins.ledger.row import CallRow
from plugins.ledger.statements import Statements, statements_for
from plugins.ledger.sums import day_sums, user_day_sums

# What a database that is down, or going down, may raise: SQLAlchemy lets some of asyncpg's and the system's errors through.
OUTAGES = (SQLAlchemyError, PostgresError, InterfaceError, OSError, TimeoutError)

Values = tuple[Any, ...]


class Prepared(Struct, frozen=True):
    """What the statements are given: the calls, and the sums that they make."""

    calls: Any
    days: Any
    user_days: Any
    known: str


class CallStore:
    """The ledger's tables.

    Args:
        engine: of SQLite or PostgreSQL.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._statements: Statements = statements_for(engine.dialect.name)

    async def position(self, journal: str) -> Position:
        """Where to read a journal on; its beginning if it has never been read."""
        columns = tables.journals.c
        query = select(columns.segment, columns.position).where(columns.name == journal)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return Position() if row is None else Position(row[0], row[1])

    async def forget(self, journal: str) -> None:
        """A journal has been removed."""
        async with self._engine.begin() as connection:
            await connection.execute(delete(tables.journals).where(tables.journals.c.name == journal))

    async def take(self, journal: str, batch: Batch, now_ms: int) -> int:
        """Take a batch; how many of its calls are new.

        Raises:
            one of OUTAGES: nothing of it was taken.
        """
        rows = list({row.call_id: row for row in batch.rows}.values())
        place = (journal, batch.position.segment, batch.position.offset, now_ms)
        losses = _losses(journal, batch.losses)
        statements = self._statements
        prepared = await asyncio.to_thread(self._prepare, rows)
        async with self._engine.begin() as connection:
            # First a write, so that SQLite waits for other writers here, and not in the middle.
            await connection.exec_driver_sql(statements.journal.text, statements.journal.parameters([place]))
            new = await self._insert(connection, rows, prepared)
            if len(new) != len(rows):
                prepared = await asyncio.to_thread(self._prepare, [row for row in rows if row.call_id in new])
            if new:
                await connection.exec_driver_sql(statements.days.text, prepared.days)
                await connection.exec_driver_sql(statements.user_days.text, prepared.user_days)
            if losses:
                await connection.exec_driver_sql(statements.losses.text, statements.losses.parameters(losses))
        return len(new)

    async def _insert(self, connection: AsyncConnection, rows: list[CallRow], prepared: Prepared) -> set[str]:
        """Insert calls; the ids of those that were not there."""
        ids = {row.call_id for row in rows}
        if not rows:
            return ids
        if self._statements.known is None:
            return set((await connection.exec_driver_sql(self._statements.calls.text, prepared.calls)).scalars())
        known = set((await connection.exec_driver_sql(self._statements.known, (prepared.known,))).scalars())
        await connection.exec_driver_sql(self._statements.calls.text, prepared.calls)
        return ids - known

    def _prepare(self, rows: list[CallRow]) -> Prepared:
        statements = self._statements
        # A row's fields stand in the order of the table's columns.
        return Prepared(
            calls=statements.calls.parameters([msgspec.structs.astuple(row) for row in rows]),
            days=statements.days.parameters(day_sums(rows)),
            user_days=statements.user_days.parameters(user_day_sums(rows)),
            known=msgspec.json.encode([row.call_id for row in rows]).decode(),
        )


def _losses(journal: str, losses: Sequence[Loss]) -> list[Values]:
    return [
        (journal, loss.segment, loss.offset, loss.kind, loss.calls, loss.length, loss.since, loss.until)
        for loss in losses
    ]
