"""A server process of a test's own: it is waited for while it starts, and dies with the test run even if that is killed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

STOP_SECONDS = 20.0
POLL_SECONDS = 0.01


class Child:
    """A process that writes its log to a file.

    Args:
        owner: user and group id to run as; ours by default.
        folder: where it runs; beside its log by default.
        leavings: a folder that goes with it if nobody is left to remove it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        owner: tuple[int, int] | None = None,
        folder: Path | None = None,
        leavings: Path | None = None,
    ) -> None:
        user, group = owner or (None, None)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*command],
                cwd=folder or log.parent,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                user=user,
                group=group,
                extra_groups=None if owner is None else [],
                start_new_session=True,
            )
        # When we are gone, the guard reads the end of its input, and kills what would be left.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -9 "$1"; rm -rf "$2"', "guard", str(self.pid), leavings or ""],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_for(self, ready: Callable[[], bool], what: str, seconds: float) -> None:
        """Look until it is ready; AssertionError with the end of its log if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running or time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise AssertionError(f"{what} is not ready within {seconds:g} s:\n{self._tail()}")
            time.sleep(POLL_SECONDS)

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, number: int) -> None:
        """Send it a signal that ends it, and wait; a second one, SIGKILL, if that takes too long."""
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        if self.running:
            self.send(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]
