"""What this node holds of one budget: takes and gives back in memory; speaks to no store."""

from __future__ import annotations

import math

from gateway.contracts.store import Budget, Exchange, Grant

# A slice covers what was used in so many seconds, but is no more than this part of what is left to all.
HORIZON_SECONDS = 2.0
PART = 16

# A slice that nobody has used for so long goes back.
IDLE_SECONDS = 2.0

_SHORTEST_SECONDS = 0.02


class Slice:
    """A part of a budget.

    What the store's books say of it is `free + out`, as long as nothing is under way: `out` are units taken and not
    told; for calls at once those in flight, which are never told, as they come back.

    Attributes:
        free: units that may be taken; negative after an open or an expensive call.
        until: when it is lost unless an exchange begins it anew, in seconds of the monotonic clock.
        left, left_at: units that no node held when the store last said so, and when that was.
        asked, least: units that waiting calls want, all together and the humblest of them.
        taken: units that calls took since it was last exchanged, whatever came back.
        tight: so little is left that everything is told and given back at once.
    """

    __slots__ = (
        "_exchanged_at", "_rate", "asked", "budget", "concurrent", "free", "last_need", "least", "left",
        "left_at", "out", "owner", "taken", "telling", "tight", "until", "used_at",
    )  # fmt: skip

    def __init__(self, budget: Budget, now: float, *, concurrent: bool = False, owner: object = None) -> None:
        self.budget = budget
        self.concurrent = concurrent
        self.owner = owner  # kept alive as long as its slice is
        self.free = 0
        self.out = 0
        self.until = -math.inf
        self.left = budget.capacity
        self.left_at = now
        self.asked = 0
        self.least = 0
        self.last_need = 0
        self.telling = 0
        self.tight = True
        self.used_at = now
        self.taken = 0
        self._rate = 0.0
        self._exchanged_at = now

    def take(self, need: int, now: float) -> None:
        """Reserve units, whether there are any or not."""
        self.free -= need
        self.out += need
        self.taken += need
        self.last_need = need
        self.used_at = now

    def undo(self, need: int) -> None:
        """A call takes nothing after all."""
        self.free += need
        self.out -= need
        self.taken -= need

    def ask(self, need: int) -> None:
        """A call waits for so many."""
        self.least = min(self.least, need) if self.asked else need
        self.asked += need
        self.last_need = need

    def forget_wishes(self) -> None:
        """Nobody waits any more."""
        self.asked = self.least = 0

    def remaining(self, now: float) -> int:
        """Units left as far as this node can tell: its own, and those that nobody holds."""
        # Asked with each answer of the gateway: written for speed.
        budget, left, free = self.budget, self.left, self.free
        if budget.refill_per_second:
            left += int((now - self.left_at) * budget.refill_per_second)
        if free > 0:
            left = left + free if left > 0 else free
        elif left < 0:
            left = 0
        return min(budget.capacity, left)

    def unheld(self, now: float) -> int:
        """Units that no node holds, by the store's last word and what has come back since."""
        refilled = int((now - self.left_at) * self.budget.refill_per_second)
        return min(self.left + refilled, self.budget.capacity)

    def rests(self, now: float) -> bool:
        """Whether nobody has used it for a while."""
        return now - self.used_at >= IDLE_SECONDS

    def is_over(self) -> bool:
        """Whether it holds nothing and owes nothing."""
        return self.out == 0 and self.free <= 0 and self.telling == 0 and not self.asked

    def exchange(self, now: float, *, give_up: bool) -> Exchange:
        """What to tell and to ask for now. `accept` or `lost` must follow."""
        own = self.free if self.until > now else 0
        if not self.concurrent:
            own = max(own, 0)  # a debt is told, and the store's from then on
        wanted = least = returned = 0
        if self.asked:
            missing = self.asked - own
            if missing > 0:
                spare = min(int(self._rate * HORIZON_SECONDS), max(self.unheld(now), 0) // PART)
                wanted, least = missing + max(spare - self.asked, 0), max(self.least - own, 1)
        elif own > 0 and (give_up or self.tight or self.rests(now)):
            returned = own
            self.free -= own
        self.asked = self.least = 0
        if not self.concurrent:
            self.telling, self.out = self.out, 0
        return Exchange(budget=self.budget, spent=self.telling, returned=returned, wanted=wanted, least=least)

    def accept(self, grant: Grant, sent_at: float, now: float) -> None:
        """The store has answered: its books are right."""
        self.telling = 0
        self.free = grant.held - self.out
        self.left, self.left_at = grant.free, now
        self.until = sent_at + grant.lease_seconds
        self.tight = grant.free < PART * self.last_need
        passed = now - self._exchanged_at
        if passed >= _SHORTEST_SECONDS:
            self._rate = (self._rate + self.taken / passed) / 2
            self.taken, self._exchanged_at = 0, now

    def lost(self) -> None:
        """The store has not answered: what was told must be told again."""
        self.out += self.telling
        self.telling = 0
