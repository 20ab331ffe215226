"""Counts of two kinds over the last so many seconds, in a few buckets; knows nothing of what is counted."""

from __future__ import annotations

from typing import Final

_BUCKETS: Final = 10


class SlidingCounts:
    """How often two things happened within a window. It slides by a tenth of its length.

    Args:
        seconds: the window's length.

    Attributes:
        first, second: the counts, as of the last `add` or `slide`. A count may be taken back, and is never below zero.
    """

    __slots__ = ("_at", "_first", "_ring_first", "_ring_second", "_second", "_step", "_turn", "_until")

    def __init__(self, seconds: float) -> None:
        self._step = seconds / _BUCKETS
        self._ring_first = [0] * _BUCKETS
        self._ring_second = [0] * _BUCKETS
        self._first = 0
        self._second = 0
        self._turn = 0
        # The bucket that counts now, and the moment from which on it no longer does.
        self._at = 0
        self._until = 0.0

    @property
    def first(self) -> int:
        """How often the first thing happened."""
        return max(self._first, 0)

    @property
    def second(self) -> int:
        """How often the second thing happened."""
        return max(self._second, 0)

    def add(self, now: float, first: int, second: int) -> None:
        """Count, at a moment of any one clock, in seconds; negative numbers take back what was counted before."""
        if now >= self._until:
            self.slide(now)
        if first:
            self._ring_first[self._at] += first
            self._first += first
        if second:
            self._ring_second[self._at] += second
            self._second += second

    def slide(self, now: float) -> None:
        """Forget what is too old."""
        turn = int(now / self._step)
        passed = turn - self._turn
        if passed <= 0:  # the common case, and a clock that went back
            return
        self._turn = turn
        self._at, self._until = turn % _BUCKETS, (turn + 1) * self._step
        if passed >= _BUCKETS:
            self.clear()
            return
        for back in range(passed):
            at = (turn - back) % _BUCKETS
            self._first -= self._ring_first[at]
            self._second -= self._ring_second[at]
            self._ring_first[at] = self._ring_second[at] = 0

    def clear(self) -> None:
        """Forget all."""
        self._ring_first = [0] * _BUCKETS
        self._ring_second = [0] * _BUCKETS
        self._first = self._second = 0
