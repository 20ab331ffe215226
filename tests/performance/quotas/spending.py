"""One run: a crowd spends a budget, things break meanwhile, all gets quiet and is stopped; it judges nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.performance.quotas.asking import Said, Wish, connect
from tests.performance.quotas.books import Ledger, Served, Stored, account_of, ledger_of, stored, wait_quiet
from tests.performance.quotas.crowd import Crowd, Habits
from tests.performance.quotas.world import BUDGET, CALLS, REQUESTS, STREAMS, Json, Plan, World

# Less than this is no call.
LEAST_CALL = 6

LOOK_SECONDS = 0.25
SPENT_SECONDS = 1.5
MOST_SECONDS = 120.0

Trouble = Callable[["Run"], Awaitable[None]]


@dataclass(frozen=True)
class Kill:
    """A gateway that was killed: which, when, and since when it may have told the store nothing; by `time.monotonic()`."""

    node: int
    at: float
    told_at: float


@dataclass
class Run:
    """One run while it lasts, and what is left of it.

    Attributes:
        forgotten: units used, by the store's own word, at each moment at which it was emptied.
        late: calls that were made once the budget was spent.
    """

    plan: Plan
    world: World
    crowd: Crowd
    choice: random.Random
    begun: float = 0.0
    seconds: float = 0.0
    kills: list[Kill] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    late: list[Said] = field(default_factory=list)
    shown: list[dict[str, Json]] = field(default_factory=list)
    ledger: Ledger | None = None
    served: dict[str, Served] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)

    @property
    def said(self) -> Sequence[Said]:
        """All calls."""
        return [*self.crowd.said, *self.late]

    async def used(self) -> int | None:
        """Tokens that are used or held, by the first node that can tell."""
        for node in self.world.nodes:
            try:
                limit = (await asyncio.to_thread(node.quota))[BUDGET]
            except Exception:  # noqa: BLE001 - it is down just now, and another one is not
                continue
            if limit.get("checked", True):
                return int(limit["used"])
        return None

    async def until_used(self, units: float) -> None:
        """Wait until so much is used."""
        while (await self.used() or 0) < units:  # noqa: ASYNC110 - it is others that change it
            await asyncio.sleep(LOOK_SECONDS / 5)

    async def until_spent(self) -> None:
        """Wait until nothing has been left for a while."""
        capacity, since = self.capacity, None
        while since is None or time.monotonic() - since < SPENT_SECONDS:
            used = await self.used()
            spent = used is not None and capacity - used < LEAST_CALL
            since = (since or time.monotonic()) if spent else None
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def capacity(self) -> int:
        """Tokens of the whole budget."""
        return int(self.plan.limit.get("burst", self.plan.limit["amount"]))


async def spend(plan: Plan, world: World, habits: Habits, seed: int, troubles: Sequence[Trouble]) -> Run:
    """Run until the budget is spent, whatever happens meanwhile, and until all is quiet; the gateways are stopped then."""
    crowd = Crowd(world, habits, seed, plan.token_ms / 1_000, plan.first_ms / 1_000)
    run = Run(plan, world, crowd, random.Random(f"{seed}/troubles"), time.monotonic())
    async with asyncio.timeout(MOST_SECONDS):
        clients = asyncio.create_task(crowd.run())
        try:
            for trouble in troubles:
                await trouble(run)
            if "burst" not in plan.limit:
                await run.until_spent()
        finally:
            crowd.halt.set()
            run.seconds = time.monotonic() - run.begun
            await clients
    await _look(run)
    return run


async def _look(run: Run) -> None:
    world = run.world
    run.shown = await asyncio.to_thread(wait_quiet, world)
    run.stored = {name: stored(world.valkey, name) for name in (BUDGET, REQUESTS, CALLS, STREAMS)}
    if "burst" not in run.plan.limit:
        for node in world.nodes:
            await _ask_once_more(run, node.number)
    for node in world.nodes:
        await asyncio.to_thread(node.stop)
    run.logs = [node.log for node in world.nodes]
    run.served = account_of(world.engines)
    run.ledger = ledger_of(world.database)


async def _ask_once_more(run: Run, number: int) -> None:
    """A call that is larger than what is left."""
    node = run.world.nodes[number]
    left = int(run.shown[number][BUDGET]["remaining"])
    wish = Wish(1, 1, left + 1, stream=False)
    said = Said(f"late-{number}", wish, number, time.monotonic())
    connection = await connect(node.port)
    assert connection is not None
    await connection.ask(said, run.world.key)
    connection.transport.close()
    run.late.append(said)
