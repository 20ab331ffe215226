"""Journal folders: one for each process's run, held by a lock that ends with the process, so that none is written by two."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

LOCK = "lock"
SEGMENT = re.compile(r"(\d{8})\.journal")
KEPT_DAMAGED = 16


class Position(Struct, frozen=True, order=True):
    """A place in a journal: the number of a segment, and an offset in it."""

    segment: int = 0
    offset: int = 0


class JournalFolder:
    """A folder whose lock we hold. Made by `create` or `adopt`.

    Attributes:
        name: unique among all journals; their place in the database goes by it.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.name = path.name
        self._lock: int | None = lock

    def segments(self) -> list[int]:
        """The numbers of the segments, in order."""
        return sorted(int(match[1]) for file in self.path.iterdir() if (match := SEGMENT.fullmatch(file.name)))

    def segment(self, number: int) -> Path:
        """The file of a segment."""
        return self.path / f"{number:08d}.journal"

    def copy_aside(self, number: int) -> None:
        """Keep a copy of a damaged segment, for people to look at; of those the last few are kept."""
        damaged = self.path.parent / "damaged"
        damaged.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(self.segment(number), damaged / f"{self.name}-{number:08d}.journal")
        every = sorted(damaged.glob("*.journal"), key=lambda file: file.stat().st_mtime)
        for file in every[:-KEPT_DAMAGED]:
            file.unlink(missing_ok=True)

    def release(self) -> None:
        """Let go: whoever comes next may adopt it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Remove it with all that is in it, and let go."""
        for number in self.segments():
            self.segment(number).unlink(missing_ok=True)
        (self.path / LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody put a file of his own here
            self.path.rmdir()
        self.release()


def create(root: Path) -> JournalFolder:
    """Make a folder for this process.

    Raises:
        OSError: it cannot be made.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        path = root / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(6)}"
        path.mkdir(mode=0o700)
        # Another process may look at the folder before its lock is held, find it empty and remove it.
        with contextlib.suppress(FileNotFoundError):
            lock = _hold(path)
            if lock is not None:
                return JournalFolder(path, lock)


def adopt(path: Path) -> JournalFolder | None:
    """Hold a folder if no living process holds it."""
    with contextlib.suppress(FileNotFoundError):
        lock = _hold(path)
        if lock is not None:
            return JournalFolder(path, lock)
    return None


def candidates(root: Path) -> Sequence[Path]:
    """The folders of all journals, the oldest first."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in root.iterdir() if re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{12}", path.name))
    return []


def _hold(path: Path) -> int | None:
    """Take the folder's lock; None if another process has it."""
    file = path / LOCK
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), file.stat()):
            return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None
