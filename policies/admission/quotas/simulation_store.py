"""A store for one node whose time is the past's: what is left of budgets, and nothing that could fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.contracts.store import Exchange, Grant

_FOR_EVER_SECONDS = 1e12


class _Level:
    __slots__ = ("at", "held", "used")

    def __init__(self, now: float) -> None:
        self.at = now
        self.used = 0
        self.held = 0


class SimulationStore:
    """See `BudgetStore`.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._levels: dict[str, _Level] = {}

    async def exchange(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        """Tell and ask."""
        return [self._exchange(each) for each in exchanges]

    def _exchange(self, told: Exchange) -> Grant:
        budget, now = told.budget, self._clock()
        level = self._levels.get(budget.key)
        if level is None:
            level = self._levels[budget.key] = _Level(now)
        rate = budget.refill_per_second
        back = int((now - level.at) * rate)
        if back >= level.used:
            level.used, level.at = 0, now
        elif back > 0:
            level.used -= back
            level.at += back / rate
        level.used = max(level.used + told.spent, 0)
        level.held = max(max(level.held - told.spent, 0) - told.returned, 0)
        free = budget.capacity - level.used - level.held
        granted = min(told.wanted, free) if free > 0 and free >= told.least else 0
        level.held += granted
        if not level.used and not level.held:
            del self._levels[budget.key]
        return Grant(granted=granted, free=free - granted, held=level.held, lease_seconds=_FOR_EVER_SECONDS)
