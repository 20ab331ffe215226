"""Where budgets live that several processes share. A node spends from slices that it holds; a store only hands them out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Protocol, runtime_checkable

from msgspec import Struct

from gateway.contracts.secret import Secret

MOST_UNITS = 2**52
"""What every store can count exactly, those that reckon in doubles too."""

_LONGEST_SECONDS = 31 * 86_400  # a month's refill is the slowest that is written as whole units per so many seconds


class StoreUnavailable(Exception):
    """The store did not answer in time, or at all. What was to be told must be told again, once, when it is back."""


class StoreSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every store is built with: the URL of `state:`, which may hold a password."""

    url: Secret


class Budget(Struct, frozen=True, kw_only=True):
    """One budget: one limit for one subject. Amounts are whole units; what a unit is, is its owner's affair.

    Attributes:
        key: names it for ever; for a calendar window with the window's start in it.
        capacity: units when it is whole.
        refill_per_second: units that come back by themselves; 0 if none do.
        ends_at: seconds since 1970 when it may be forgotten; None for budgets without an end.
    """

    key: str
    capacity: int
    refill_per_second: float = 0.0
    ends_at: float | None = None

    @property
    def rate(self) -> tuple[int, int]:
        """What refills, in units per so many seconds, both whole; by it stores can add for years and not drift."""
        return _fraction(self.refill_per_second)


@lru_cache(maxsize=4096)
def _fraction(refill_per_second: float) -> tuple[int, int]:
    """The fraction that the float was made of, as far as it was one."""
    if refill_per_second <= 0:
        return 0, 1
    rate = Fraction(refill_per_second).limit_denominator(_LONGEST_SECONDS)
    if rate.numerator == 0:  # less than a unit a month
        return 1, _LONGEST_SECONDS
    return min(rate.numerator, MOST_UNITS), rate.denominator


class Exchange(Struct, frozen=True, kw_only=True):
    """What a node tells of its slice of one budget, and what it asks for.

    Attributes:
        spent: units of its slice that are used up since it last told; more than it held is a debt, negative is a
            correction of what it told before.
        returned: unspent units that it gives back.
        wanted: units that it would like to hold in addition.
        least: grant nothing if fewer than this are free.
    """

    budget: Budget
    spent: int = 0
    returned: int = 0
    wanted: int = 0
    least: int = 0


class Grant(Struct, frozen=True, kw_only=True):
    """A store's answer to one exchange.

    Attributes:
        granted: units that the node may spend in addition; between 0 and `wanted`.
        free: units left that no node holds, after this grant; negative while there is a debt.
        held: units that this node holds now, by the store's books.
        lease_seconds: how long it may go on to hold them; each exchange begins it anew. A node that says nothing for as
            long has lost its slice: what it had not told as spent is free for others again.
    """

    granted: int
    free: int
    held: int
    lease_seconds: float


class BudgetStore(Protocol):
    """Hands out slices. Each instance stands for one node."""

    async def exchange(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        """Tell and ask for several budgets in one round trip; the answers are in the order of the exchanges.

        Raises:
            StoreUnavailable: within 50 ms, whatever the store does.
        """


@runtime_checkable
class LocalBudgetStore(BudgetStore, Protocol):
    """A store of this process alone; it never waits and is never lost. A store need not be one.

    Whoever holds slices of one never has to wait for an answer, nor to give anything back in haste: there are no others.
    """

    def exchange_at_once(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        """What `exchange` does, without waiting."""


class Level:
    """How much of one budget is used up and has not come back yet, to the unit; for stores that reckon in Python.

    Moments are whole microseconds by any one clock. While it stands still or goes back, nothing comes back.

    Attributes:
        used: units; never negative.
    """

    __slots__ = ("_at", "_part", "_parts", "used")

    def __init__(self, now_micros: int) -> None:
        self.used = 0
        self._at = now_micros
        # Of the `parts` of one unit so many have come back beyond whole ones.
        self._part = 0
        self._parts = 0

    def refill(self, budget: Budget, now_micros: int) -> None:
        """Take back what has come back by now."""
        passed = now_micros - self._at
        if passed <= 0:
            return
        self._at = now_micros
        units, seconds = budget.rate
        if not self.used or not units:
            return
        parts = seconds * 1_000_000
        if parts != self._parts:
            self._part, self._parts = 0, parts
        back, self._part = divmod(self._part + units * passed, parts)
        self.spend(-back)

    def spend(self, units: int) -> None:
        """Use up so many more; fewer where the number is negative. A budget that is whole saves nothing up."""
        self.used += units
        if self.used <= 0:
            self.used = self._part = 0
