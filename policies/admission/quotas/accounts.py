"""Which budget a call is counted against: one account per limit and subject, and no more of them than can be borne."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from weakref import WeakValueDictionary

from gateway import Principal
from policies.admission.quotas.rules import Rule
from policies.admission.quotas.slices import Slice

# Clients choose what their users are called. Beyond so many of one tenant under one limit, all others are one user.
MOST_USERS = 10_000
OTHERS = "*"

_LONGEST_NAME = 64

# Users looked at in each review, the longest unused first.
_REVIEWED = 200


class Account:
    """One limit for one subject, now: in a calendar its budget is another in each window."""

    __slots__ = ("__weakref__", "ends_at", "key", "piece", "rule")

    def __init__(self, rule: Rule, key: str, now: float, wall: float) -> None:
        self.rule = rule
        self.key = key
        self.ends_at = math.inf
        self.piece = self._begin(now, wall)

    def current(self, now: float, wall: float) -> Slice:
        """What this node holds of the budget of now."""
        if wall >= self.ends_at:
            # Calls in flight hold on to the old one, and settle there.
            self.piece = self._begin(now, wall)
        return self.piece

    def adopt(self, rule: Rule) -> None:
        """The limit may have been changed; what was spent of it stays spent."""
        if rule is not self.rule:
            self.rule = rule
            old = self.piece.budget
            self.piece.budget = rule.budget(old.key, None, None)
            if rule.calendar is not None and old.ends_at is not None:
                self.piece.budget = rule.budget(old.key, None, int(old.ends_at))

    def is_forgettable(self, now: float) -> bool:
        """Whether its budget is whole again, as nobody has used it for so long."""
        piece = self.piece
        if not piece.is_over():
            return False
        rate = self.rule.refill_per_second
        return now - piece.used_at >= (self.rule.capacity / rate if rate else 0.0)

    def _begin(self, now: float, wall: float) -> Slice:
        rule, start, end = self.rule, None, None
        if rule.calendar is not None:
            window = rule.calendar.window(wall)
            start, end = window.start, window.end
            self.ends_at = float(end)
        return Slice(rule.budget(self.key, start, end), now, concurrent=rule.concurrent, owner=self)


class Crowd:
    """The users of one tenant under one limit, and whatever else that is per."""

    def __init__(self, accounts: Accounts, rule: Rule, principal: Principal, model: str, suffix: str) -> None:
        self.rule = rule
        self.users: OrderedDict[str, Account] = OrderedDict()
        self._accounts = accounts
        self._principal = principal
        self._model = model
        self._suffix = suffix

    def account(self, user: str | None) -> Account:
        """The account of a user; of nobody in particular where there are too many."""
        name = _short(user or "")
        account = self.users.get(name)
        if account is not None:
            self.users.move_to_end(name)
            return account
        if len(self.users) >= self._accounts.most_users:
            self.forget(1)
            if len(self.users) >= self._accounts.most_users:
                name = OTHERS  # no user is called so: such names are written otherwise
        account = self._accounts.get(self.rule, self.rule.base_key(self._principal, self._model, name) + self._suffix)
        self.users[name] = account
        return account

    def adopt(self, rule: Rule) -> None:
        """The limit may have been changed."""
        if rule is not self.rule:
            self.rule = rule
            for account in self.users.values():
                account.adopt(rule)

    def forget(self, most: int) -> None:
        """Forget users whose budgets are whole, of those unused for longest."""
        now, wall = self._accounts.clock(), self._accounts.wall()
        for _ in range(min(most, len(self.users))):
            name, account = next(iter(self.users.items()))
            is_over = wall >= account.ends_at if self.rule.calendar is not None else account.is_forgettable(now)
            if not is_over:
                return
            del self.users[name]


class Accounts:
    """All accounts in use. One is kept by whoever uses it: plans, calls in flight, slices not given back, known users.

    Args:
        clock: monotonic seconds.
        wall: seconds since 1970.
        most_users: known at once, of one tenant under one limit.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float], most_users: int = MOST_USERS) -> None:
        self.clock = clock
        self.wall = wall
        self.most_users = most_users
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._crowds: dict[str, Crowd] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def get(self, rule: Rule, key: str) -> Account:
        """The account of a limit under a key."""
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(rule, key, self.clock(), self.wall())
        else:
            account.adopt(rule)
        return account

    def crowd(self, rule: Rule, principal: Principal, model: str, suffix: str) -> Crowd:
        """The users under a limit that each have a budget of their own."""
        key = rule.base_key(principal, model, OTHERS) + suffix
        crowd = self._crowds.get(key)
        if crowd is None:
            crowd = self._crowds[key] = Crowd(self, rule, principal, model, suffix)
        else:
            crowd.adopt(rule)
        return crowd

    def review(self) -> None:
        """Forget users whose budgets are whole."""
        for crowd in self._crowds.values():
            crowd.forget(_REVIEWED)


def _short(user: str) -> str:
    """A user's name, or what stands for it: names come from clients, and may be megabytes long."""
    if len(user) <= _LONGEST_NAME and OTHERS not in user:
        return user
    return "#" + blake2b(user.encode(errors="surrogatepass"), digest_size=16).hexdigest()
