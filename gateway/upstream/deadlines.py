"""One coarse timer for a whole pool instead of one per read; what is overdue is for its owner to say."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from gateway.upstream.origin import Timeouts

SLOWEST_SWEEP_SECONDS: Final = 1.0
FASTEST_SWEEP_SECONDS: Final = 0.01


@lru_cache(maxsize=64)
def sweep_seconds(timeouts: Timeouts) -> float:
    """How often to look so that a timeout is noticed at most an eighth late (but at least 10 ms, at most 1 s)."""
    shortest = min(timeouts.first_byte_seconds, timeouts.idle_seconds)
    return min(max(shortest / 8, FASTEST_SWEEP_SECONDS), SLOWEST_SWEEP_SECONDS)


class Sweeper:
    """Calls `sweep(now)` when it is due; the answer says in how many seconds again, None for not until asked."""

    __slots__ = ("_delay", "_due", "_handle", "_loop", "_sweep")

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Callable[[float], float | None]) -> None:
        self._loop = loop
        self._sweep = sweep
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._delay = 0.0

    def within(self, seconds: float) -> None:
        """See to it that a sweep comes within so many seconds; mostly one is due already and this costs a comparison."""
        if self._handle is None:
            self._arm(self._loop.time(), seconds)
        elif seconds < self._delay:
            # The timer was set for longer than that, but may have come close meanwhile.
            now = self._loop.time()
            if now + seconds < self._due:
                self._arm(now, seconds)

    def stop(self) -> None:
        """Look no more; harmless when nothing is due."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, now: float, delay: float) -> None:
        self.stop()
        self._delay = delay
        self._due = now + delay
        self._handle = self._loop.call_at(self._due, self._run)

    def _run(self) -> None:
        self._handle = None
        now = self._loop.time()
        again = self._sweep(now)
        if again is not None:
            self._arm(now, again)
