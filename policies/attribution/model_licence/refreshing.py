"""Keeps what is known of products as the database is: a cheap question every so often, then the rows that are new."""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from policies.attribution.model_licence.failures import (
    DatabaseUnavailable,
    HistoryBroken,
    database_failures,
)
from policies.attribution.model_licence.history import Head, read_head, rows_after
from policies.attribution.model_licence.products import Snapshot
from policies.attribution.model_licence.standing import Standing
from policies.attribution.model_licence.telling import Told

log = structlog.get_logger("moegate.model_licence")

QUESTION_SECONDS = 2.0
LOAD_SECONDS = 60.0


class Known:
    """What this node has read of one database; it outlives a reload.

    Attributes:
        told: up to the last row that was read.
        head: what the database gave as its end when it was read; None before that.
        broken: the first row at which the chain breaks; None if it is whole as far as this node has seen.
        changed: set it to have the next look at once.
        reading: held while somebody reads.
    """

    def __init__(self) -> None:
        self.told = Told()
        self.head: Head | None = None
        self.broken: int | None = None
        self.changed = asyncio.Event()
        self.reading = asyncio.Lock()


class Refreshing:
    """Reads the history of one database, and publishes what it tells.

    Args:
        standing: told of each new snapshot; None where nobody follows, as in a command.
    """

    def __init__(self, engine: AsyncEngine, known: Known, standing: Standing | None = None) -> None:
        self._engine = engine
        self.known = known
        self._standing = standing
        self._lost = ""

    async def run(self, poll_seconds: float) -> None:
        """Go on until cancelled; sooner than it would be time when `Known.changed` is set."""
        while True:
            await self.refresh()
            try:
                async with asyncio.timeout(poll_seconds):
                    await self.known.changed.wait()
            except TimeoutError:
                pass
            self.known.changed.clear()

    async def refresh(self) -> bool:
        """Read what is new; False if that cannot be had: then what is known stays, and the reason is logged once."""
        try:
            await self.read()
        except (DatabaseUnavailable, HistoryBroken) as error:
            if error.message != self._lost:
                log.warning("products cannot be read; what is known of them still holds", reason=error.message)
            self._lost = error.message
            return False
        if self._lost:
            log.info("products can be read again")
        self._lost = ""
        return True

    async def read(self) -> Snapshot:
        """What holds now, as the database says; published if it is new.

        Raises:
            DatabaseUnavailable: the database did not answer, or failed.
            HistoryBroken: it has no end any more, or rows that this version cannot read.
        """
        async with self.known.reading:
            with database_failures():
                async with asyncio.timeout(QUESTION_SECONDS) as patience, self._engine.connect() as connection:
                    head = await read_head(connection)
                    if head is None:
                        raise HistoryBroken("The table model_licence_head has lost its row; restore a backup.")
                    if head != self.known.head:
                        patience.reschedule(asyncio.get_running_loop().time() + LOAD_SECONDS)
                        await self._take(connection, head)
            if self._standing is None:
                return self.known.told.snapshot()
            return self._standing.snapshot

    async def _take(self, connection: AsyncConnection, head: Head) -> None:
        known = self.known
        told = known.told
        if head.sequence > told.head.sequence:
            told = await self._told(connection, told, head)
        if told.head != head:
            # A head that went back, or that does not follow, is another database, or an older copy of it.
            told = await self._told(connection, Told(), head)
        broken = told.broken if told.broken is not None or told.head == head else told.head.sequence + 1
        if broken is not None and broken != known.broken:
            log.error("the history of licences was tampered with: see `moegate licences audit verify`", row=broken)
        known.told, known.head, known.broken = told, head, broken
        if self._standing is not None:
            self._standing.publish(told.snapshot())

    @staticmethod
    async def _told(connection: AsyncConnection, told: Told, head: Head) -> Told:
        try:
            async for rows in rows_after(connection, told.head.sequence, head.sequence):
                for row in rows:
                    told.take(row)
        except msgspec.MsgspecError as error:
            raise HistoryBroken(f"The history of licences has a row that cannot be read: {error}") from error
        return told
