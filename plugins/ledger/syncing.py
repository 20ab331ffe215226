"""Asks the disk to have written, from a thread: which files there are to ask for, and who closes them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import structlog

log = structlog.get_logger("moegate.ledger")


class Syncing:
    """The files of a journal that the disk may not have taken yet.

    Attributes:
        failed: times that the disk said it could not.
    """

    def __init__(self) -> None:
        self.failed = 0
        self._lock = threading.Lock()
        self._current: int | None = None
        self._retired: list[int] = []
        self._folder: Path | None = None

    def follow(self, file: int, folder: Path) -> None:
        """This file is written from now on; it is new in its folder."""
        with self._lock:
            self._current, self._folder = file, folder

    def retire(self, file: int) -> None:
        """This file is complete, and ours to close."""
        with self._lock:
            self._retired.append(file)
            if self._current == file:
                self._current = None

    def sync(self) -> None:
        """Wait for the disk. Blocks; for a thread."""
        with self._lock:
            retired, self._retired = self._retired, []
            folder, self._folder = self._folder, None
            # A file of our own, which nobody closes meanwhile.
            current = None if self._current is None else os.dup(self._current)
        for file in (*retired, *([] if current is None else [current])):
            self.wait_for(file)
            os.close(file)
        if folder is not None:
            self._sync_folder(folder)

    def close(self, *, sync: bool) -> None:
        """Close what was retired, after a last wait for the disk if that is wanted."""
        if sync:
            self.sync()
            return
        with self._lock:
            retired, self._retired = self._retired, []
        for file in retired:
            os.close(file)

    def wait_for(self, file: int) -> None:
        """Wait until the disk has one file. Blocks."""
        try:
            os.fdatasync(file)
        except OSError as error:
            self.failed += 1
            log.error("the disk has not taken the ledger's journal", reason=error.strerror)

    def _sync_folder(self, path: Path) -> None:
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return  # shipped and removed already
        self.wait_for(folder)
        os.close(folder)
