"""Where budgets live that several processes share. A node spends from slices that it holds; a store only hands them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from gateway.contracts.secret import Secret


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
