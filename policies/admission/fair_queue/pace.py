"""How fast slots come free, so that who is turned away can be told when to come again."""

from __future__ import annotations

SOONEST_SECONDS = 1.0
LATEST_SECONDS = 600.0
_NEWEST = 0.1


class Pace:
    """The time between two slots that came free while calls waited."""

    def __init__(self) -> None:
        self._interval: float | None = None
        self._last: float | None = None

    def tick(self, now: float) -> None:
        """A slot came free, and somebody waits for it."""
        if self._last is not None:
            gap = now - self._last
            self._interval = gap if self._interval is None else self._interval + (gap - self._interval) * _NEWEST
        self._last = now

    def pause(self) -> None:
        """Nobody waits: the time until the next says nothing."""
        self._last = None

    def seconds(self, calls: float, otherwise: float) -> float:
        """How long so many calls take to get their turns."""
        seconds = otherwise if self._interval is None else self._interval * calls
        return min(max(seconds, SOONEST_SECONDS), LATEST_SECONDS)
