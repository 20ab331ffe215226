"""Takes journals to the database: this process's own as it grows, and those that dead processes left; removes what was taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from plugins.ledger.folders import JournalFolder, Position, adopt, candidates
from plugins.ledger.reading import Batch, Loss, read_batch
from plugins.ledger.row import CallRow
from plugins.ledger.store import OUTAGES

log = structlog.get_logger("moegate.ledger")

TAKE_SECONDS = 60.0
# After so many failures at one place, calls are tried one by one; if none of the first few is taken, it is not about them.
MOST_FAILURES = 3
MOST_REFUSED = 20


class Writer(Protocol):
    """What is to be known of whoever writes this process's journal."""

    @property
    def folder(self) -> JournalFolder | None:
        """None before the first frame."""

    @property
    def end(self) -> Position:
        """Up to here frames are whole."""

    @property
    def segment_bytes(self) -> int:
        """How long a whole segment is."""

    def forget_before(self, segment: int) -> None:
        """Segments before this one are gone."""


class Store(Protocol):
    """What is to be known of the database."""

    async def position(self, journal: str) -> Position:
        """Where to read on."""

    async def forget(self, journal: str) -> None:
        """A journal is gone."""

    async def take(self, journal: str, batch: Batch, now_ms: int) -> int:
        """Take a batch, all or nothing."""


class Shipped(Struct):
    """What has been done since the process started.

    Attributes:
        calls: that were new to the database.
        again: that it had already.
        damaged: places in journals that could not be read.
        set_aside: calls that the database does not take.
        at: seconds since 1970 when the last batch was taken; None before the first.
    """

    calls: int = 0
    again: int = 0
    damaged: int = 0
    set_aside: int = 0
    at: float | None = None


class Shipper:
    """Ships. Several may use one at once: they take turns.

    Args:
        root: the folder of all journals.
        writer: of this process's own.
        most: calls in a batch.
        clock: seconds since 1970.
    """

    def __init__(
        self, root: Path, writer: Writer, *, most: int = 1_000, clock: Callable[[], float] = time.time
    ) -> None:
        self.shipped = Shipped()
        self._root = root
        self._writer = writer
        self._most = most
        self._clock = clock
        self._turn = asyncio.Lock()
        self._position: Position | None = None
        self._failures = 0
        self._failed_at: tuple[str, Position] | None = None
        self._whole_at = clock()

    def waiting_bytes(self) -> int:
        """Of this process's journal, what the database has not; segments between count as full."""
        end, begin = self._writer.end, self._position or Position()
        segments = max(end.segment - max(begin.segment, 1), 0)
        return max(segments * self._writer.segment_bytes + end.offset - begin.offset, 0)

    def lag_seconds(self) -> float:
        """How long ago the database had all that this process has written; 0 while it has."""
        return max(self._clock() - self._whole_at, 0.0) if self.waiting_bytes() else 0.0

    async def ship_own(self, store: Store) -> None:
        """Take all that this process has written until now.

        Raises:
            one of OUTAGES: the database is not there; nothing is lost, go on later.
        """
        folder = self._writer.folder
        if folder is None:
            return
        async with self._turn:
            if self._position is None:
                self._position = await store.position(folder.name)
            while self._position < self._writer.end:
                self._position, _ = await self._ship(store, folder, self._position, self._writer.end)
                self._writer.forget_before(self._position.segment)
            self._whole_at = self._clock()

    async def ship_others(self, store: Store) -> int:
        """Take the journals of processes that are gone; how many there were.

        Raises:
            one of OUTAGES: as for `ship_own`.
        """
        count = 0
        for path in await asyncio.to_thread(candidates, self._root):
            folder = await asyncio.to_thread(adopt, path)
            if folder is None:
                continue
            try:
                position, complete = await store.position(folder.name), False
                while not complete:
                    position, complete = await self._ship(store, folder, position, None)
                await asyncio.to_thread(folder.remove)
                await store.forget(folder.name)
            finally:
                folder.release()
            log.info("took over a journal", journal=folder.name)
            count += 1
        return count

    async def _ship(
        self, store: Store, folder: JournalFolder, start: Position, end: Position | None
    ) -> tuple[Position, bool]:
        """Take one batch; where to go on, and whether there is no more."""
        batch = await asyncio.to_thread(read_batch, folder, start, end, self._most, self._clock)
        if batch.rows or batch.losses:
            await self._take(store, folder, start, batch)
        await asyncio.to_thread(_clear, folder, start.segment, batch)
        return batch.position, batch.complete

    async def _take(self, store: Store, folder: JournalFolder, start: Position, batch: Batch) -> None:
        place = (folder.name, start)
        try:
            new = await self._try(store, folder, batch)
        except OUTAGES:
            self._failures = self._failures + 1 if self._failed_at == place else 1
            self._failed_at = place
            if self._failures <= MOST_FAILURES:
                raise
            await store.position(folder.name)  # or it is the database, and not what it is to take
            batch = await self._without_refused(store, folder, start, batch)
            new = await self._try(store, folder, batch)
        self._failures = 0
        self.shipped.calls += new
        self.shipped.again += len(batch.rows) - new
        self.shipped.at = self._clock()
        for loss in batch.losses:
            self._report(folder, loss)

    async def _try(self, store: Store, folder: JournalFolder, batch: Batch) -> int:
        async with asyncio.timeout(TAKE_SECONDS):
            return await store.take(folder.name, batch, int(self._clock() * 1_000))

    async def _without_refused(self, store: Store, folder: JournalFolder, start: Position, batch: Batch) -> Batch:
        """The batch without the calls that the database does not take although it takes others: one by one.

        Raises:
            one of OUTAGES: it takes none of the first of them, so it is not about the calls.
        """
        taken, refused, failure = 0, [], ""
        for row in batch.rows:
            try:
                # The journal's place stays where it is: that is the batch's to move.
                taken += await self._try(store, folder, Batch([row], [], start, complete=False))
            except OUTAGES as error:
                refused.append(row)
                failure = type(error).__name__
                if not taken and len(refused) >= MOST_REFUSED:
                    raise
        if not refused or not taken:
            return batch
        log.error("the database does not take some calls", calls=len(refused), reason=failure)
        self.shipped.calls += taken
        self.shipped.set_aside += len(refused)
        await asyncio.to_thread(_keep_refused, self._root, refused)
        ids = {row.call_id for row in refused}
        losses = [
            Loss(start.segment, start.offset + index, "set_aside", 1, 0, row.received_at, row.received_at)
            for index, row in enumerate(refused)
        ]
        left = [row for row in batch.rows if row.call_id not in ids]
        return msgspec.structs.replace(batch, rows=left, losses=[*batch.losses, *losses])

    def _report(self, folder: JournalFolder, loss: Loss) -> None:
        report = log.warning if loss.kind in ("torn", "refused") else log.error
        report(
            "the ledger has a gap",
            kind=loss.kind,
            journal=folder.name,
            segment=loss.segment,
            offset=loss.offset,
            bytes=loss.length,
            calls=loss.calls,
        )
        if loss.calls is None:
            self.shipped.damaged += 1


def _clear(folder: JournalFolder, first: int, batch: Batch) -> None:
    """Remove the segments that have been taken whole; keep the damaged ones, as they are, for people to look at."""
    for number in batch.damaged_segments:
        folder.copy_aside(number)
    for number in folder.segments():
        if first <= number < batch.position.segment:
            folder.segment(number).unlink(missing_ok=True)


def _keep_refused(root: Path, rows: list[CallRow]) -> None:
    damaged = root / "damaged"
    damaged.mkdir(mode=0o700, exist_ok=True)
    with (damaged / "set_aside.jsonl").open("ab") as file:
        for row in rows:
            file.write(msgspec.json.encode(dict(zip(row.__struct_fields__, msgspec.structs.astuple(row), strict=True))))
            file.write(b"\n")
