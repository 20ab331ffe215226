"""A node with limits, a store that can be lost, and clocks that stand still until they are moved."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway import Attempt, Call, Dimension, Ending, Limit, Model, Outcome, Prices, Principal, Usage
from gateway.contracts.store import Exchange, Grant, StoreUnavailable
from plugins.memory_store import Accounts as StoredAccounts
from plugins.memory_store import MemoryStore
from policies.admission.quotas.accounts import Accounts
from policies.admission.quotas.exchanger import Exchanger
from policies.admission.quotas.plans import Plans
from policies.admission.quotas.policy import QuotaLease, Quotas
from policies.admission.quotas.rules import rules_of
from tests.unit.builders import CHECKPOINT, make_call

PRICED = Model("kimi-k2", (), CHECKPOINT, prices=Prices(input=1.0, output=4.0))
COUNTED = Model("kimi-k2", (), CHECKPOINT, tokenizer=Path("nowhere"))
WALL = 1_800_000_000.0


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL + self.now


class Tokens:
    """Every prompt has so many tokens, and every typical answer too."""

    def __init__(self, estimate: int = 100, exact: int | None = None, typical: int = 50) -> None:
        self.values = (estimate, exact, typical)
        self.counted = 0

    def estimate(self, call: Call) -> int:
        return self.values[0]

    async def exact(self, call: Call) -> int | None:
        self.counted += 1
        return self.values[1]

    def produced(self, call: Call, backend: str, events: int) -> int:
        return events

    def typical_output(self, call: Call) -> int:
        return self.values[2]


class FlakyStore:
    """A store in memory that can be lost, lose its answers, or keep its callers waiting; notes what it is asked."""

    def __init__(self, accounts: StoredAccounts, node: str) -> None:
        self._store = MemoryStore(accounts, node)
        self.asked: list[list[Exchange]] = []
        self.lost = False
        self.deaf = False
        self.gate: asyncio.Event | None = None

    async def exchange(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        self.asked.append(list(exchanges))
        if self.gate is not None:
            await self.gate.wait()
        if self.lost:
            raise StoreUnavailable("gone")
        grants = await self._store.exchange(exchanges)
        if self.deaf:
            raise StoreUnavailable("the answer was lost")
        return grants


class AtOnceStore(FlakyStore):
    """A store that answers at once, as that of a process alone does; it is never lost."""

    def exchange_at_once(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        self.asked.append(list(exchanges))
        return self._store.exchange_at_once(exchanges)


class Node:
    """One gateway with the policy."""

    def __init__(self, scene: Scene, store: FlakyStore, tokens: Tokens, *limits: Limit, exact_bytes: int = 0) -> None:
        self.clock = scene.clock
        self.store = store
        self.accounts = Accounts(scene.clock, scene.clock.wall, most_users=3)
        self.exchanger = Exchanger(self.store, scene.clock)
        rules, problems = rules_of(limits)
        assert problems == []
        self.policy = Quotas(Plans(rules, self.accounts), self.exchanger, tokens, exact_bytes)

    async def admit(self, call: Call | None = None, **changes: Any) -> QuotaLease:
        lease = await self.policy.admit(call or make_call(**{"max_tokens": 10, **changes}))
        assert lease is not None
        return lease

    async def rest(self) -> None:
        """Let all that is under way come to its end, and tell what is due."""
        self.exchanger.review()
        await self.exchanger.settled()

    async def stop(self) -> None:
        await self.exchanger.close()


class Scene:
    """Nodes that share budgets and a clock."""

    def __init__(self, kind_of_store: type[FlakyStore] = FlakyStore) -> None:
        self.kind_of_store = kind_of_store
        self.clock = Clock()
        self.stored = StoredAccounts(self.clock.wall, lease_seconds=30.0)

    def node(self, *limits: Limit, name: str = "a", tokens: Tokens | None = None, exact_bytes: int = 0) -> Node:
        return Node(self, self.kind_of_store(self.stored, name), tokens or Tokens(), *limits, exact_bytes=exact_bytes)

    def spent(self) -> int:
        """What the store knows as spent, of all budgets together."""
        return sum(self.stored.used(key) for key in list(self.stored))


def limit(dimension: Dimension = Dimension.REQUESTS, amount: float = 3, **changes: Any) -> Limit:
    """A limit per key and minute."""
    fields: dict[str, Any] = {"name": "few", "dimension": dimension, "amount": amount, "every": "minute", **changes}
    return Limit(**fields)


def day(dimension: Dimension = Dimension.TOTAL_TOKENS, amount: float = 1_000, **changes: Any) -> Limit:
    """A limit per key and day."""
    return limit(dimension, amount, **{"every": "day", "window": "calendar", **changes})


def ended(prompt: int = 0, output: int = 0, **changes: Any) -> Outcome:
    """A call that was served."""
    fields: dict[str, Any] = {
        "ending": Ending.COMPLETED,
        "status": 200,
        "usage": Usage(prompt_tokens=prompt, completion_tokens=output),
        "attempts": (Attempt("a", "vllm"),),
        **changes,
    }
    return Outcome(**fields)


NEVER_RUN = Outcome(ending=Ending.FAILED, status=503)


def of_key(key: str, tenant: str = "demo", **changes: Any) -> Principal:
    return Principal(key, key, tenant, **changes)
