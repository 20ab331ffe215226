"""The store `memory`: budgets of one process, to the unit; other processes do not see them, and a restart forgets them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

from gateway import BuildContext, Extension, hookimpl
from gateway.contracts.store import Budget, BudgetStore, Exchange, Grant, Level, StoreSettings
from gateway.errors import ConfigError

LEASE_SECONDS = 30.0

GRACE_SECONDS = 60.0
"""How long after its end a budget still counts: calls that began before it are settled after it."""

SWEPT = 2
"""Budgets looked at in each exchange, whether they can be forgotten: more than one, so that there are fewer and fewer."""


class Account:
    """One budget: what is used up and has not come back yet, and what each node holds until when (microseconds)."""

    __slots__ = ("budget", "held", "level")

    def __init__(self, budget: Budget, now: int) -> None:
        self.budget = budget
        self.level = Level(now)
        self.held: dict[str, tuple[int, int]] = {}

    def refill(self, now: int) -> None:
        """Take back what was used up long enough ago, and slices of nodes that are silent for too long."""
        self.level.refill(self.budget, now)
        for node in [node for node, (_, until) in self.held.items() if until <= now]:
            del self.held[node]

    def is_forgettable(self, now: int, wall: float) -> bool:
        """Whether nothing would change if it were gone."""
        if is_over(self.budget, wall):
            return True
        self.refill(now)
        return not self.level.used and not self.held

    def exchange(self, node: str, told: Exchange, until: int) -> tuple[int, int, int]:
        """Book what a node tells and grant what it asks for: units granted, free, held."""
        held, _ = self.held.get(node, (0, 0))
        self.level.spend(told.spent)
        held = max(held - told.spent, 0)
        held = max(held - max(told.returned, 0), 0)
        others = sum(units for name, (units, _) in self.held.items() if name != node)
        free = self.budget.capacity - self.level.used - held - others
        granted = min(max(told.wanted, 0), free) if free > 0 and free >= told.least else 0
        held += granted
        if held:
            self.held[node] = (held, until)
        else:
            self.held.pop(node, None)
        return granted, free - granted, held


def is_over(budget: Budget, wall: float) -> bool:
    """Whether a budget's end is so long ago that nothing is counted by it any more."""
    return budget.ends_at is not None and wall >= budget.ends_at + GRACE_SECONDS


class Accounts:
    """All budgets. Those that are whole again, or over, are forgotten.

    Args:
        clock: seconds since 1970, for budgets that end.
        steady: seconds of a clock that nobody sets, for what refills and for leases; by default the same clock.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        lease_seconds: float = LEASE_SECONDS,
        *,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._steady = clock if steady is None else steady
        self._lease_seconds = lease_seconds
        self._lease_micros = round(lease_seconds * 1e6)
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[str]:
        """The keys of budgets that are not whole, and perhaps of some that are."""
        return iter(self._accounts)

    def used(self, key: str) -> int:
        """Units of a budget that were told as spent and have not come back yet."""
        account = self._accounts.get(key)
        if account is None:
            return 0
        account.refill(self._micros())
        return account.level.used

    def exchange(self, node: str, exchanges: Sequence[Exchange]) -> list[Grant]:
        """What a store does, for one node."""
        now, wall = self._micros(), self._clock()
        grants = [self._exchange(node, each, now, wall) for each in exchanges]
        self._sweep(now, wall)
        return grants

    def _micros(self) -> int:
        return round(self._steady() * 1e6)

    def _exchange(self, node: str, told: Exchange, now: int, wall: float) -> Grant:
        budget = told.budget
        if is_over(budget, wall):
            return Grant(granted=0, free=0, held=0, lease_seconds=self._lease_seconds)
        account = self._accounts.get(budget.key)
        if account is None:
            account = self._accounts[budget.key] = Account(budget, now)
        account.refill(now)
        account.budget = budget  # its size may have been changed since
        granted, free, held = account.exchange(node, told, now + self._lease_micros)
        return Grant(granted=granted, free=free, held=held, lease_seconds=self._lease_seconds)

    def _sweep(self, now: int, wall: float) -> None:
        for _ in range(min(SWEPT, len(self._accounts))):
            key, account = next(iter(self._accounts.items()))
            if account.is_forgettable(now, wall):
                del self._accounts[key]
            else:
                self._accounts.move_to_end(key)


class MemoryStore:
    """One node's way to the budgets. It never waits and is never lost.

    Args:
        accounts: shared by nodes that are to share budgets, as tests let several; a process has one node.
    """

    def __init__(self, accounts: Accounts | None = None, node: str = "here") -> None:
        self._accounts = Accounts(steady=time.monotonic) if accounts is None else accounts
        self._node = node

    async def exchange(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        """Tell and ask; see `BudgetStore.exchange`."""
        return self.exchange_at_once(exchanges)

    def exchange_at_once(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        """The same without waiting; see `LocalBudgetStore`."""
        return self._accounts.exchange(self._node, exchanges)


def _build(settings: StoreSettings, _: BuildContext) -> BudgetStore:
    if settings.url.reveal().partition("://")[2].strip("/"):
        raise ConfigError("memory:// takes nothing behind it: it is this process's own memory")
    return MemoryStore()  # the core keeps one for each URL, over reloads too


@hookimpl
def moegate_stores() -> Iterable[Extension[BudgetStore]]:
    """Register the store."""
    return [Extension("memory", StoreSettings, _build)]
