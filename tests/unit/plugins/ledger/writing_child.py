"""Processes that keep account of calls until they are killed, and tell each call's id after it was written down.

Run as a program it forks one for each `start FOLDER NAME` that it reads, and waits for one for each `wait PID`: so a test
that kills many waits for one interpreter to start. It goes when its input ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from plugins.ledger.writer import JournalWriter
from tests.architecture.sources import ROOT
from tests.unit.plugins.ledger.rows import make_frame, make_settings


class WritingChildren:
    """The program, from the outside."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.unit.plugins.ledger.writing_child"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._waiting = threading.Lock()

    def killed_after(self, folder: Path, name: str, count: int) -> list[str]:
        """Start one and kill it when it has told so many ids; all that it told until it was dead."""
        fifo = folder / f"{name}.fifo"
        os.mkfifo(fifo)
        self._say(f"start {folder} {name}")
        told: list[str] = []
        with fifo.open() as lines:
            pid = int(next(lines))
            for line in lines:
                told.append(line.strip())
                if len(told) == count:
                    os.kill(pid, signal.SIGKILL)
        with self._waiting:
            self._say(f"wait {pid}")
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == f"{pid} ended by {-signal.SIGKILL}\n"
        return told

    def close(self) -> None:
        """End the program."""
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def write_on(folder: Path, name: str) -> None:
    """Write until killed."""
    told = os.open(folder / f"{name}.fifo", os.O_WRONLY)
    os.write(told, b"%d\n" % os.getpid())
    writer = JournalWriter(make_settings(folder, max_bytes=2**30, fsync="never"))
    number = 0
    while True:
        # Short and long frames: a long one is more likely to be cut by the kill.
        writer.append(make_frame(f"{name}-{number}", attribution="x" * (number % 7 * 9_000)))
        os.write(told, f"{name}-{number}\n".encode())
        number += 1


def main() -> None:
    """Fork and wait as told."""
    for line in sys.stdin:
        order, *rest = line.split()
        if order == "wait":
            pid, status = os.waitpid(int(rest[0]), 0)
            print(f"{pid} ended by {os.waitstatus_to_exitcode(status)}", flush=True)  # noqa: T201 - that is its output
        elif os.fork() == 0:
            try:
                write_on(Path(rest[0]), rest[1])
            finally:
                os._exit(1)


if __name__ == "__main__":
    main()
