"""Runs a Python program and counts the functions that it calls between two signals: a cost that no busy machine changes.

Put before a console script, as `valgrind` would be: `python counting.py FILE moegate serve`. SIGUSR1 begins, SIGUSR2 writes what
has been counted to FILE, as JSON: functions of Python by place, and those in C by name. It counts the main thread alone.
"""

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any


class Counts:
    """What is called while it counts."""

    def __init__(self, file: Path) -> None:
        """Count nothing yet."""
        self._file = file
        self._python: Counter[Any] = Counter()
        self._c: Counter[str] = Counter()

    def begin(self, _signal: int, _frame: FrameType | None) -> None:
        """Count from here on."""
        self._python.clear()
        self._c.clear()
        sys.setprofile(self._see)

    def end(self, _signal: int, _frame: FrameType | None) -> None:
        """Count no more, and write down what there is."""
        sys.setprofile(None)
        python = {f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}": n for code, n in self._python.items()}
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"python": python, "c": self._c}))
        new.replace(self._file)

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._python[frame.f_code] += 1
        elif event == "c_call":
            self._c[argument.__qualname__] += 1


def main() -> None:
    """Run the program whose command follows the file's name."""
    counts = Counts(Path(sys.argv[1]))
    signal.signal(signal.SIGUSR1, counts.begin)
    signal.signal(signal.SIGUSR2, counts.end)
    sys.argv = sys.argv[2:]
    # As `python SCRIPT` would: the folder of this file is not where the program's modules are.
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
