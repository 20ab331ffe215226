"""Who is next: by priority, then by the tenants' counters, then by arrival; every step takes O(log n) of the tenants that wait."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict

from policies.admission.fair_queue.accounts import Account

AGED_TURN = 4
"""Every so many turns one goes to a lower priority whose oldest call has waited long enough."""


class Ticket:
    """One call that waits.

    Attributes:
        tokens: what it is charged when its turn comes.
        arrived, until: the loop's time when it came, and when it has waited long enough.
        turn: done when its turn has come; failed when it never will.
        queued: whether it stands in the order.
    """

    __slots__ = ("account", "arrived", "priority", "queued", "tokens", "turn", "until")

    def __init__(self, account: Account, priority: int, tokens: int, deadline_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.account = account
        self.priority = priority
        self.tokens = tokens
        self.queued = False
        self.arrived = loop.time()
        self.until = self.arrived + deadline_seconds
        self.turn: asyncio.Future[None] = loop.create_future()


class Rank:
    """The calls of one priority."""

    def __init__(self, numbers: itertools.count[int]) -> None:
        self.tickets: OrderedDict[Ticket, None] = OrderedDict()
        self._of_account: dict[Account, OrderedDict[Ticket, None]] = {}
        # Entries whose counter is no longer their account's are out of date; a new one stands beside them.
        self._heap: list[tuple[float, int, Account]] = []
        self._numbers = numbers

    def add(self, ticket: Ticket) -> None:
        """One more."""
        self.tickets[ticket] = None
        tickets = self._of_account.get(ticket.account)
        if tickets is None:
            self._of_account[ticket.account] = OrderedDict({ticket: None})
            self._push(ticket.account)
        else:
            tickets[ticket] = None

    def remove(self, ticket: Ticket) -> None:
        """One fewer, wherever it stood."""
        del self.tickets[ticket]
        tickets = self._of_account[ticket.account]
        del tickets[ticket]
        if not tickets:
            del self._of_account[ticket.account]

    def first(self) -> Ticket:
        """The oldest call of the tenant with the smallest counter."""
        account = self._least()
        return next(iter(self._of_account[account]))

    def oldest(self) -> Ticket:
        """The oldest call of all."""
        return next(iter(self.tickets))

    def least(self) -> float:
        """The smallest counter of those that wait."""
        return self._least().counter

    def moved(self, account: Account) -> None:
        """A tenant's counter has changed."""
        if account in self._of_account:
            self._push(account)

    def _push(self, account: Account) -> None:
        if len(self._heap) > 2 * len(self._of_account) + 16:
            self._heap = [(each.counter, next(self._numbers), each) for each in self._of_account]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (account.counter, next(self._numbers), account))

    def _least(self) -> Account:
        while True:
            counter, _, account = self._heap[0]
            if counter == account.counter and account in self._of_account:
                return account
            heapq.heappop(self._heap)


class Order:
    """All that wait in one lane.

    Attributes:
        shares: of the tenants that wait, added up.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.shares = 0.0
        self._ranks: dict[int, Rank] = {}
        self._numbers = itertools.count()
        self._turns = 0

    def add(self, ticket: Ticket) -> None:
        """One more; its tenant's counter is right already."""
        rank = self._ranks.get(ticket.priority)
        if rank is None:
            rank = self._ranks[ticket.priority] = Rank(self._numbers)
        rank.add(ticket)
        ticket.queued = True
        self.waiting += 1
        if not ticket.account.waiting:
            self.shares += ticket.account.share
        ticket.account.waiting += 1

    def remove(self, ticket: Ticket) -> None:
        """One fewer."""
        rank = self._ranks[ticket.priority]
        rank.remove(ticket)
        ticket.queued = False
        if not rank.tickets:
            del self._ranks[ticket.priority]
        self.waiting -= 1
        ticket.account.waiting -= 1
        if not ticket.account.waiting:
            self.shares -= ticket.account.share

    def next(self, now: float, ageing_seconds: float) -> Ticket:
        """Whose turn it is; there must be one. It stays until it is removed."""
        rank = self._ranks[max(self._ranks)]
        if len(self._ranks) > 1:
            self._turns += 1
            if self._turns % AGED_TURN == 0:
                aged = min((each for each in self._ranks.values() if each is not rank), key=_age)
                if now - aged.oldest().arrived >= ageing_seconds:
                    rank = aged
        return rank.first()

    def moved(self, account: Account) -> None:
        """A tenant's counter has changed."""
        if account.waiting:
            for rank in self._ranks.values():
                rank.moved(account)

    def by_priority(self) -> list[tuple[int, int]]:
        """How many wait of each priority."""
        return [(priority, len(rank.tickets)) for priority, rank in self._ranks.items()]

    def least(self) -> float:
        """The smallest counter of those that wait; there must be one."""
        return min(rank.least() for rank in self._ranks.values())

    def since(self) -> float:
        """When the oldest came; there must be one."""
        return min(rank.oldest().arrived for rank in self._ranks.values())

    def overdue(self, now: float) -> list[Ticket]:
        """Those that have waited long enough."""
        found = []
        for rank in self._ranks.values():
            for ticket in rank.tickets:
                if ticket.until > now:
                    break
                found.append(ticket)
        return found

    def due(self) -> float:
        """When the next will have; there must be one."""
        return min(rank.oldest().until for rank in self._ranks.values())


def _age(rank: Rank) -> float:
    return rank.oldest().arrived
