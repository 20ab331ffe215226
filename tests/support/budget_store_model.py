"""A model of a store of budgets: the plainest that does what `gateway/contracts/store.py` says, with fractions for amounts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from gateway import Budget, Exchange


@dataclass
class Caller:
    """What a node knows of one budget.

    Attributes:
        held: by the last answer that it heard.
        untold: spent since then.
    """

    held: int = 0
    untold: int = 0


@dataclass
class Slice:
    """What the store knows of one node. `heard` is what it has told since an answer of the store's last reached it."""

    held: int = 0
    until_micros: float = math.inf
    told_spent: int = 0
    told_returned: int = 0


@dataclass
class Account:
    """One budget."""

    used: Fraction = Fraction(0)
    at_micros: int = 0
    slices: dict[int, Slice] = field(default_factory=dict)


class Ledger:
    """All budgets and all nodes."""

    def __init__(self, lease_seconds: float | None) -> None:
        self._lease_micros = math.inf if lease_seconds is None else round(lease_seconds * 1e6)
        self._accounts: dict[str, Account] = {}
        self._callers: dict[tuple[int, str], Caller] = {}

    def caller(self, node: int, budget: Budget) -> Caller:
        return self._callers.setdefault((node, budget.key), Caller())

    def exchange(self, node: int, told: Exchange, now: float, *, heard: bool) -> tuple[int, int, int]:
        """Granted, free and held."""
        budget = told.budget
        micros = round(now * 1e6)
        account = self._accounts.setdefault(budget.key, Account(at_micros=micros))
        _pass(account, budget, micros)
        caller, mine = self.caller(node, budget), account.slices.setdefault(node, Slice())

        spent = told.spent - mine.told_spent
        returned = max(told.returned - mine.told_returned, 0)
        account.used = max(account.used + spent, Fraction(0))
        mine.held = max(mine.held - spent, 0)
        mine.held -= min(mine.held, returned)
        mine.held = min(mine.held, max(caller.held - told.spent - told.returned, 0))  # the rest it does not know of

        free = budget.capacity - math.ceil(account.used) - sum(each.held for each in account.slices.values())
        granted = min(told.wanted, free) if free >= max(told.least, 1) else 0
        mine.held += granted
        mine.until_micros = micros + self._lease_micros
        if heard:
            mine.told_spent = mine.told_returned = caller.untold = 0
            caller.held = mine.held
        else:
            mine.told_spent, mine.told_returned = told.spent, max(told.returned, mine.told_returned)
        return granted, free - granted, mine.held


def _pass(account: Account, budget: Budget, micros: int) -> None:
    for each in account.slices.values():
        if each.until_micros <= micros:
            each.held = 0
    rate = Fraction(budget.refill_per_second).limit_denominator(1_000)
    passed = Fraction(micros - account.at_micros, 1_000_000)
    account.used, account.at_micros = max(account.used - rate * passed, Fraction(0)), micros
