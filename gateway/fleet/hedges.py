"""When a stream's first event is late, by what the same replica took of late, and how many second tries that may cost."""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.fleet.retries import TryBudget
from gateway.settings import HedgeSettings

LEAST_TIMES: Final = 20
"""Before so many streams, nobody knows what late is."""

_MOST_TIMES: Final = 256
_EVERY: Final = 16
_QUANTILE: Final = 0.95


class RecentTimes:
    """The last times of one replica, in seconds, and the time that 95 of 100 of them stayed below."""

    __slots__ = ("_late", "_new", "_times")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MOST_TIMES)
        self._new = 0
        self._late: float | None = None

    def add(self, seconds: float) -> None:
        """Take one time."""
        self._times.append(seconds)
        self._new += 1

    def late(self) -> float | None:
        """The time beyond which one is late; None while there are too few. Found anew for every few new ones."""
        if len(self._times) < LEAST_TIMES:
            return None
        if self._late is None or self._new >= _EVERY:
            self._new = 0
            self._late = sorted(self._times)[int(len(self._times) * _QUANTILE)]
        return self._late


class Hedges:
    """The hedges of one model.

    Attributes:
        won: second tries that answered first.
    """

    def __init__(self, settings: HedgeSettings) -> None:
        self.budget = TryBudget(settings)
        self.won = 0
        self._floor = settings.floor_seconds
        self._times: dict[str, RecentTimes] = {}

    def note(self, replica: str, seconds: float) -> None:
        """A stream's first event has come from this replica after so many seconds."""
        times = self._times.get(replica)
        if times is None:
            times = self._times[replica] = RecentTimes()
        times.add(seconds)

    def delay(self, replica: str) -> float | None:
        """How long to wait for this replica's first event before another is asked as well; None for as long as it takes."""
        times = self._times.get(replica)
        late = times.late() if times is not None else None
        return None if late is None else max(late, self._floor)
