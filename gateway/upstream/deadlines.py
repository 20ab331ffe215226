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

    __slots__ = ("_due", "_handle", "_loop", "_sweep")

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Callable[[float], float | None]) -> None:
        self._loop = loop
        self._sweep = sweep
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0

    def within(self, seconds: float) -> None:
        """See to it that a sweep comes within so many seconds; mostly one is due already and this costs a comparison."""
        due = self._loop.time() + seconds
        if self._handle is None or due < self._due:
            self._arm(due)

    def stop(self) -> None:
        """Look no more; harmless when nothing is due."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, due: float) -> None:
        self.stop()
        self._due = due
        self._handle = self._loop.call_at(due, self._run)

    def _run(self) -> None:
        self._handle = None
        now = self._loop.time()
        again = self._sweep(now)
        if again is not None:
            self._arm(now + again)
