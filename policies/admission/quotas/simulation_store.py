"""A store for one node whose time is the past's: what is left of budgets, and nothing that could fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.contracts.store import Exchange, Grant, Level

_FOR_EVER_SECONDS = 1e12


class _Account:
    __slots__ = ("held", "level")

    def __init__(self, now: int) -> None:
        self.level = Level(now)
        self.held = 0


class SimulationStore:
    """See `BudgetStore`.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    async def exchange(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        """Tell and ask."""
        return [self._exchange(each) for each in exchanges]

    def _exchange(self, told: Exchange) -> Grant:
        budget, now = told.budget, round(self._clock() * 1e6)
        account = self._accounts.get(budget.key)
        if account is None:
            account = self._accounts[budget.key] = _Account(now)
        level = account.level
        level.refill(budget, now)
        level.spend(told.spent)
        account.held = max(max(account.held - told.spent, 0) - told.returned, 0)
        free = budget.capacity - level.used - account.held
        granted = min(told.wanted, free) if free > 0 and free >= told.least else 0
        account.held += granted
        if not level.used and not account.held:
            del self._accounts[budget.key]
        return Grant(granted=granted, free=free - granted, held=account.held, lease_seconds=_FOR_EVER_SECONDS)
