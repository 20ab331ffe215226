"""A hall where calls queue for the slots of a few replicas; the test says who comes, who leaves and whose answer is done."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from gateway import Call, Ending, Lease, Operation, Outcome, Principal, Replica, ReplicaState, Usage
from gateway.fleet.pooled_fleet import PooledFleet
from policies.admission.fair_queue.lane import Lane
from policies.admission.fair_queue.policy import FairQueue, Lanes
from policies.admission.fair_queue.settings import FairQueueSettings
from tests.unit.builders import make_call, make_pool, make_replica
from tests.unit.fakes import FakeCounter

Visit = asyncio.Task[Lease | None]


def outcome(tokens: int | None) -> Outcome:
    """A call that took so many tokens; None if no engine has seen it."""
    usage = None if tokens is None else Usage(prompt_tokens=tokens // 2, completion_tokens=tokens - tokens // 2)
    return Outcome(ending=Ending.COMPLETED, status=200, usage=usage)


class Hall:
    """One policy on one pool.

    Attributes:
        served: tokens by tenant, of the calls that are over.
        order: tenants in the order in which their calls were let through.
    """

    def __init__(self, *replicas: Replica, lanes: Lanes | None = None, **settings: Any) -> None:
        self.replicas = replicas or (make_replica(max_concurrent=2),)
        self.fleet = PooledFleet([make_pool(*self.replicas)], [])
        self.lanes = lanes or Lanes()
        self.policy = FairQueue(FairQueueSettings(**settings), self.fleet, FakeCounter(), self.lanes)
        self.inside: list[tuple[str, Lease, Replica | None]] = []
        self.visits: set[Visit] = set()
        self.served: Counter[str] = Counter()
        self.order: list[str] = []

    def lane(self, operation: Operation = Operation.CHAT) -> Lane:
        return self.policy._lanes["kimi-k2"][operation]

    def come(self, tenant: str, *, share: float = 1.0, **call: Any) -> Visit:
        principal = Principal("key", "key", tenant, share=share, priority=call.get("priority", 0))
        visit = asyncio.create_task(self._enter(make_call(principal=principal, **call)))
        self.visits.add(visit)
        visit.add_done_callback(self.visits.discard)
        return visit

    async def crowd(self, *tenants: str, **call: Any) -> list[Visit]:
        """They come in this order, and each has found its place when this returns."""
        visits = [self.come(tenant, **call) for tenant in tenants]
        await settled()
        return visits

    async def _enter(self, call: Call) -> Lease | None:
        lease = await self.policy.admit(call)
        assert lease is not None
        self.inside.append((call.principal.tenant, lease, self._place(call)))
        self.order.append(call.principal.tenant)
        return lease

    def _place(self, call: Call) -> Replica | None:
        """As the gateway places: what was let through finds a free slot, if anything is ready at all."""
        able = [
            each for each in self.replicas if call.operation in each.operations and each.state is ReplicaState.READY
        ]
        if not able:
            return None
        replica = min(able, key=lambda each: each.in_flight / each.max_concurrent)
        assert replica.in_flight < replica.max_concurrent, "it was let through, and there is no slot"
        replica.in_flight += 1
        return replica

    def leave(self, tokens: int | None = 150, place: int = 0) -> str:
        """The oldest call inside is over, and nobody has noticed yet."""
        tenant, lease, replica = self.inside.pop(place)
        if replica is not None:
            replica.in_flight -= 1
        self.served[tenant] += tokens or 0
        lease.settle(outcome(tokens))
        return tenant

    async def finish(self, tokens: int | None = 150, place: int = 0) -> str:
        """The oldest call inside is over; whoever is next is inside when this returns."""
        tenant = self.leave(tokens, place)
        await settled()
        return tenant

    async def empty(self) -> None:
        """Let all who are left have their turns."""
        while self.inside:
            await self.finish()


async def settled() -> None:
    """Until everybody has gone as far as they can."""
    for _ in range(4):
        await asyncio.sleep(0)


def assert_nothing_is_left(hall: Hall) -> None:
    """All are gone, and with them every slot, place, timer and task."""
    lane = hall.lane()
    assert (lane.granted, lane.waiting, lane._timer) == (0, 0, None)
    assert (lane._order.shares, lane.accounts.weight, lane.accounts.charged) == pytest.approx((0.0, 0.0, 0.0))
    assert all(account.waiting == account.running == 0 for account in lane.accounts._of_tenant.values())
    assert not hall.lanes.watch.running
