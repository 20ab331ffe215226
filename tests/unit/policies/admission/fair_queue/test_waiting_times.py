"""How long a tenant waits beside one that sends fifty times more, against alone with its fair share of the slots."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from policies.admission.fair_queue.watch import LOOK_SECONDS
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.admission.fair_queue.hall import Hall, Principal, assert_nothing_is_left, outcome, settled

SECONDS = 1_000.0
THINK_SECONDS = 1.0
TOKENS_PER_SECOND = 100


async def waits(slots: int, clients: Mapping[str, int]) -> list[float]:
    """Seconds in the queue of each call of the tenant `chat`; every client asks again some time after its answer."""
    hall = Hall(make_replica(max_concurrent=slots), per_tenant=1_000, deadline_seconds=3_600.0)
    loop, found = asyncio.get_running_loop(), []

    async def client(tenant: str, number: int) -> None:
        dice = random.Random(number)
        call = make_call(principal=Principal("key", "key", tenant))
        while True:
            came = loop.time()
            lease = await hall.policy.admit(call)
            if tenant == "chat":
                found.append(loop.time() - came)
            seconds = dice.uniform(0.5, 1.5)
            await asyncio.sleep(seconds)
            assert lease is not None
            lease.settle(outcome(round(seconds * TOKENS_PER_SECOND)))
            await asyncio.sleep(THINK_SECONDS if tenant == "chat" else 0)

    tasks = [asyncio.create_task(client(tenant, 7 * n)) for tenant, count in clients.items() for n in range(count)]
    await asyncio.sleep(SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sorted(found)


async def test_a_tenant_beside_a_greedy_one_waits_no_more_than_twice_as_long_as_alone() -> None:
    alone = await waits(2, {"chat": 6})
    beside = await waits(4, {"chat": 6, "batch": 300})
    assert len(alone) > 1_000
    assert len(beside) > 0.8 * len(alone)
    p99 = [each[len(each) * 99 // 100] for each in (alone, beside)]
    assert p99[1] <= 2 * p99[0]


async def test_slots_that_a_replica_gets_back_go_to_who_waits() -> None:
    """It recovers: READY all the while, with fewer slots than it has."""
    replica = make_replica(max_concurrent=2)
    hall = Hall(replica)
    replica.slots = 0
    first, second = await hall.crowd("a", "a")
    assert not first.done()
    replica.slots = 1
    await asyncio.sleep(LOOK_SECONDS)  # of virtual time
    await settled()
    assert (first.done(), second.done()) == (True, False)
    replica.slots = 2
    await asyncio.sleep(LOOK_SECONDS)
    await settled()
    assert second.done()
    await hall.empty()
    assert_nothing_is_left(hall)
