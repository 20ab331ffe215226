"""Reads a journal on from a place: rows, gaps, and what is damaged; a piece at a time, and nothing silently."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from plugins.ledger.folders import JournalFolder, Position
from plugins.ledger.frames import Damage, Fault, Found, find_frames
from plugins.ledger.row import CallRow, decode_row, tamed

PIECE_BYTES = 2**20


class Loss(Struct, frozen=True):
    """What is known to be missing from the ledger, or not to be trusted.

    Attributes:
        segment, offset: where in the journal.
        kind: `torn` (a process was killed while it wrote this), `damaged` (the disk's doing), `unreadable` (whole, but of a
            later version), `lost` and `refused` (see `GapRow`), `set_aside` (the database does not take the row).
        calls: how many; None where nobody knows.
        since, until: milliseconds since 1970 between which they ended, as near as is known.
    """

    segment: int
    offset: int
    kind: str
    calls: int | None
    length: int
    since: int
    until: int


class Batch(Struct, frozen=True):
    """What was read: rows, losses, and where to go on.

    Attributes:
        complete: there was no more to read.
        damaged_segments: that are worth keeping for people to look at.
    """

    rows: list[CallRow]
    losses: list[Loss]
    position: Position
    complete: bool
    damaged_segments: frozenset[int] = frozenset()


def read_batch(
    folder: JournalFolder,
    start: Position,
    end: Position | None,
    most: int,
    clock: Callable[[], float] = time.time,
) -> Batch:
    """Read on. Blocks; for a thread.

    Args:
        folder: whose journal it is.
        start: where to begin.
        end: where its writer is; None for a journal that nobody writes any more.
        most: how many frames to read at most.
        clock: seconds since 1970.
    """
    reader = _Reader(clock)
    position = start
    left = most
    expected = start.segment
    for number in (each for each in folder.segments() if each >= start.segment):
        if end is not None and number > end.segment:
            break
        if expected:
            reader.miss(range(expected, number))
        expected = number + 1
        position = position if number == position.segment else Position(number)
        with folder.segment(number).open("rb") as file:
            size = end.offset if end is not None and number == end.segment else file.seek(0, 2)
            while position.offset < size and left > 0:
                piece_bytes = min(PIECE_BYTES, size - position.offset)
                file.seek(position.offset)
                found = find_frames(
                    file.read(piece_bytes),
                    base=position.offset,
                    most=left,
                    whole=position.offset + piece_bytes == size,
                )
                if found.end == position.offset:  # a frame or damage longer than the piece
                    file.seek(position.offset)
                    found = find_frames(file.read(size - position.offset), base=position.offset, most=left)
                reader.take(number, found)
                left -= len(found.frames) + len(found.damages)
                position = Position(number, found.end)
            if position.offset < size:
                return reader.batch(position, complete=False)
    return reader.batch(position, complete=True)


class _Reader:
    """Sorts what was found into rows and losses."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: list[CallRow] = []
        self._losses: list[Loss] = []
        self._damaged: set[int] = set()

    def take(self, segment: int, found: Found) -> None:
        """Read the frames; damage is given the time of the row before it."""
        damages = found.damages[::-1]
        for frame in found.frames:
            while damages and damages[-1].start < frame.end:
                self._damage(segment, damages.pop())
            try:
                row = decode_row(frame.payload)
            except msgspec.MsgspecError:
                length = len(frame.payload)
                self._damage(segment, Damage(Fault.UNREADABLE, frame.end - length, length))
                continue
            if isinstance(row, CallRow):
                self._rows.append(tamed(row))
                continue
            for kind, calls in (("lost", row.lost), ("refused", row.refused)):
                if calls:
                    self._losses.append(Loss(segment, frame.end, kind, calls, 0, row.since, row.until))
        for damage in damages[::-1]:
            self._damage(segment, damage)

    def miss(self, segments: Iterable[int]) -> None:
        """Whole segments are gone, which nobody has read."""
        for segment in segments:
            at = self._now()
            self._losses.append(Loss(segment, 0, Fault.DAMAGED, None, 0, at, at))

    def _damage(self, segment: int, damage: Damage) -> None:
        at = self._now()
        self._losses.append(Loss(segment, damage.start, damage.fault, None, damage.length, at, at))
        if damage.fault is not Fault.TORN:
            self._damaged.add(segment)

    def _now(self) -> int:
        """When it may have been: the time of the row before."""
        return self._rows[-1].received_at if self._rows else int(self._clock() * 1_000)

    def batch(self, position: Position, *, complete: bool) -> Batch:
        """All that was read."""
        return Batch(self._rows, self._losses, position, complete, frozenset(self._damaged))
