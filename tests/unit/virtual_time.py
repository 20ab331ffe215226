"""An event loop whose clock jumps to the next timer when there is nothing else to do: a minute's pause takes no time."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

# For what the loop cannot foresee: a thread or a child process that reports back. Nothing for so long is a deadlock.
STUCK_SECONDS = 10.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its `time()` is the real one plus all that was skipped."""

    def __init__(self) -> None:
        self.skipped_seconds = 0.0
        self._selector_of_jumps = _JumpingSelector(self)
        super().__init__(self._selector_of_jumps)

    def time(self) -> float:
        return super().time() + self.skipped_seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            found = super().select(STUCK_SECONDS)
            if not found:
                raise AssertionError("nothing is left that could ever happen: a deadlock")
            return found
        self._loop.skipped_seconds += timeout
        return []
