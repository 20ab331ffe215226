"""How much more a model's engines are asked than its callers ask: a share of the traffic, so that a brown-out is not doubled."""

from __future__ import annotations

from collections import Counter
from typing import Final

from gateway.fleet.window import SlidingCounts
from gateway.settings import HedgeSettings, RetrySettings

WINDOW_SECONDS: Final = 10.0


class TryBudget:
    """A budget of one model: for tries after failures, or for those beside a late one.

    Attributes:
        made: further tries, by the error code of the failure before.
        refused: calls that failed with their try because there was no budget for another, by the same.
    """

    __slots__ = ("_counts", "_minimum", "_share", "made", "refused")

    def __init__(self, settings: RetrySettings | HedgeSettings) -> None:
        self._share = settings.budget_share
        self._minimum = settings.minimum_calls
        self.made: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._counts = SlidingCounts(WINDOW_SECONDS)

    def called(self, now: float) -> None:
        """A call comes; `now` in seconds of one monotonic clock."""
        self._counts.add(now, 1, 0)

    def spend(self, now: float, because: str) -> bool:
        """Ask for one further try; `because` is the code of the failure before. The answer is counted."""
        counts = self._counts
        counts.slide(now)
        if counts.second >= self._minimum + self._share * counts.first:
            self.refused[because] += 1
            return False
        counts.add(now, 0, 1)
        self.made[because] += 1
        return True


class Retries:
    """How one model's calls are tried again.

    Attributes:
        pauses: calls that waited for an engine's `Retry-After`.
    """

    __slots__ = ("budget", "pauses", "settings")

    def __init__(self, settings: RetrySettings) -> None:
        self.settings = settings
        self.budget = TryBudget(settings)
        self.pauses = 0
