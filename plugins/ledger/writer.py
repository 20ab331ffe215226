"""Writes frames to this process's journal, one `write` each; what the disk does not take waits in memory, or is counted."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from plugins.ledger.folders import JournalFolder, Position, create
from plugins.ledger.frames import encode_frame
from plugins.ledger.row import GapRow, encode_row
from plugins.ledger.settings import LedgerSettings
from plugins.ledger.syncing import Syncing

log = structlog.get_logger("moegate.ledger")

# What waits in memory while the disk takes nothing: some 40,000 calls.
MOST_WAITING_BYTES = 8 * 2**20


class JournalWriter:
    """This process's journal.

    A file that is open for appending takes a frame in one call to the kernel, and has it then whatever becomes of us.

    Attributes:
        folder: where it is; None until the first frame.
        trouble: why nothing can be written now; None while all is well.
        lost, refused: calls that are not in the journal, see `GapRow`; since the process started.
        written: frames that are in it.
    """

    def __init__(self, settings: LedgerSettings, *, clock: Callable[[], float] = time.time) -> None:
        self.folder: JournalFolder | None = None
        self.trouble: str | None = None
        self.lost = 0
        self.refused = 0
        self.written = 0
        self.segment_bytes = settings.segment_bytes
        self.syncing = Syncing()
        self._settings = settings
        self._clock = clock
        self._always = settings.fsync == "always"
        self._most_segments = settings.max_bytes // settings.segment_bytes
        self._first_segment = 1
        self._segment = 0
        self._file = -1
        self._size = 0
        self._room = 0  # of the current segment; none before the first
        self._disk_low = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._gap: GapRow | None = None
        self._reported: str | None = None

    @property
    def end(self) -> Position:
        """Up to here whole frames have been written."""
        return Position(self._segment, self._size)

    @property
    def bytes_on_disk(self) -> int:
        """How long the journal is, in whole segments but for the last."""
        return max(self._segment - self._first_segment, 0) * self._settings.segment_bytes + self._size

    @property
    def unwritten(self) -> int:
        """Frames that wait in memory."""
        return len(self._waiting)

    @property
    def refusing(self) -> bool:
        """Whether new calls must not begin: there is room only for those that have."""
        if self._settings.on_full != "refuse":
            return False
        return (
            self.trouble is not None or self._disk_low or self._segment - self._first_segment + 1 > self._most_segments
        )

    def open(self) -> None:
        """Make the folder and the first file, so that no call waits for that, and a fault shows at once."""
        if self.folder is None:
            self._begin_segment()

    def append(self, frame: bytes) -> None:
        """Write a frame. On the call's way."""
        if self.trouble is not None:
            self._wait(frame)
            return
        size = self._size + len(frame)
        if size > self._room:
            if not self._begin_segment():
                self._wait(frame)
                return
            size = self._size + len(frame)
        try:
            written = os.write(self._file, frame)
            if written == len(frame):
                self._size = size
                self.written += 1
                if self._always:
                    self.syncing.wait_for(self._file)
                return
            reason = "the disk took a part of a frame"
        except OSError as error:
            reason = error.strerror or "the disk failed"
        self._undo()
        self._stop(reason)
        self._wait(frame)

    def count_refused(self) -> None:
        """A call has been refused because of `refusing`; it is counted, and takes no room."""
        self.refused += 1
        self._widen_gap(0, 1)

    def tick(self, most: int = 2_000) -> None:
        """Look whether there is room again, and write what waits, so many frames at most; to be called now and then."""
        self._look_at_disk()
        if self._disk_low and self._settings.on_full == "drop":
            self._stop("min_free_bytes is reached")
            return
        self.trouble = None
        while self._waiting and self.trouble is None and most:
            most -= 1
            frame = self._waiting.popleft()
            self._waiting_bytes -= len(frame)
            self.append(frame)
        if self.trouble is None and not self.refusing and self._gap is not None:
            gap, self._gap = self._gap, None
            self.append(encode_frame(encode_row(gap)))
        if self.trouble is None and self._reported is not None and not self._waiting:
            self._reported = None
            _tell(log.warning, "the ledger writes again", lost=self.lost, refused=self.refused)

    def forget_before(self, segment: int) -> None:
        """Segments before this one have been removed."""
        self._first_segment = max(self._first_segment, segment)

    def close(self) -> None:
        """Write what can be written, and let go of the folder; it stays if there is anything in it."""
        if self._waiting or self._gap is not None:
            self.tick(len(self._waiting))
        if self._waiting or self._gap is not None:
            _tell(
                log.error,
                "the ledger ends with calls that it could not write",
                calls=len(self._waiting),
                lost=self.lost,
            )
        if self._file >= 0:
            self.syncing.retire(self._file)
            self._file, self._room = -1, 0
        self.syncing.close(sync=self._settings.fsync != "never")
        if self.folder is not None:
            self.folder.release()

    def _begin_segment(self) -> bool:
        """Go on in a new file. False, and trouble, if that cannot be."""
        # One more than the bound: in the last one there is room for calls that had begun before it was reached.
        most = self._most_segments + (self._settings.on_full == "refuse")
        if self._segment - self._first_segment + 1 >= most:
            self._stop("max_bytes is reached, because the database does not take what is in the journal")
            return False
        self._look_at_disk()
        if self._disk_low and self._settings.on_full == "drop":
            self._stop("min_free_bytes is reached")
            return False
        try:
            if self.folder is None:
                self.folder = create(self._settings.path)
            path = self.folder.segment(self._segment + 1)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._stop(error.strerror or "the disk failed")
            return False
        if self._file >= 0:
            self.syncing.retire(self._file)
        self._file, self._size, self._room = file, 0, self._settings.segment_bytes
        self._segment += 1
        self.syncing.follow(file, self.folder.path)
        if self._always:
            self.syncing.sync()
        if self.refusing:
            _tell(log.error, "the ledger is nearly full; new calls are refused", bytes=self.bytes_on_disk)
        return True

    def _undo(self) -> None:
        """Cut off a part of a frame; where even that fails, go on in another file: the reader knows a torn frame."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._room = 0

    def _stop(self, reason: str) -> None:
        if reason != self._reported:
            _tell(log.error, "the ledger cannot write", reason=reason, on_full=self._settings.on_full)
        self.trouble = self._reported = reason

    def _wait(self, frame: bytes) -> None:
        if self._waiting_bytes + len(frame) <= MOST_WAITING_BYTES:
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)
            return
        self.lost += 1
        if self.lost & (self.lost - 1) == 0:  # 1, 2, 4, 8 …: loud, but not once a call
            _tell(log.error, "calls are lost to the ledger", lost=self.lost, reason=self.trouble)
        self._widen_gap(1, 0)

    def _widen_gap(self, lost: int, refused: int) -> None:
        now = int(self._clock() * 1_000)
        gap = self._gap if self._gap is not None else GapRow(now, now, 0, 0)
        self._gap = GapRow(gap.since, now, gap.lost + lost, gap.refused + refused)

    def _look_at_disk(self) -> None:
        if self.folder is None or not self._settings.min_free_bytes:
            self._disk_low = False
            return
        try:
            found = os.statvfs(self.folder.path)
        except OSError:
            return
        low = found.f_bavail * found.f_frsize < self._settings.min_free_bytes
        if low and not self._disk_low:
            _tell(log.error, "the ledger's disk is nearly full", on_full=self._settings.on_full)
        self._disk_low = low


def _tell(report: Callable[..., Any], event: str, **what: object) -> None:
    """Log. Where the log is on the same full disk, that must not cost a call."""
    with contextlib.suppress(OSError):
        report(event, **what)
