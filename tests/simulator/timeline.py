"""Virtual time: what is to happen, in order; nothing waits, and nothing happens but what was asked for."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timeline:
    """A queue of events.

    Attributes:
        now: virtual seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def clock(self) -> float:
        """As a function, for whoever wants a clock."""
        return self.now

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later; what is due at the same time happens in the order in which it was asked for."""
        self._number += 1
        heapq.heappush(self._events, (self.now + max(seconds, 0.0), self._number, action))

    def run(self, most: int = 50_000_000) -> None:
        """Let everything happen.

        Raises:
            RuntimeError: there is no end to it.
        """
        for _ in range(most):
            if not self._events:
                return
            self.now, _, action = heapq.heappop(self._events)
            action()
        raise RuntimeError(f"still not over after {most} events")
