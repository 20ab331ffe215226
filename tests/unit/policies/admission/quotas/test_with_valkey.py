"""Several nodes on a real valkey-server: a budget that holds, with the server killed in the middle and without."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway import Dimension, Limit
from gateway.errors import QuotaExceeded
from plugins.valkey_store.store import ValkeyStore
from plugins.valkey_store.url import read_url
from policies.admission.quotas import exchanger
from policies.admission.quotas.accounts import Accounts
from policies.admission.quotas.exchanger import Exchanger
from policies.admission.quotas.plans import Plans
from policies.admission.quotas.policy import QuotaLease, Quotas
from policies.admission.quotas.rules import rules_of
from tests.support.valkey import ValkeyServer, valkey_server
from tests.unit.builders import make_call
from tests.unit.policies.admission.quotas.scene import Tokens, day, ended, limit

BUDGET = 60_000
NODES = 4

# Units are counted here, not time: a busy machine must not make a store that is there look lost.
PATIENCE_SECONDS = 10.0


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server(persistent=True) as server:
        yield server


class Node:
    """A gateway's policy with its service at work."""

    def __init__(self, server: ValkeyServer, *limits: Limit) -> None:
        self.store = ValkeyStore(read_url(server.url), bound_seconds=PATIENCE_SECONDS)
        accounts = Accounts(time.monotonic, time.time)
        self.exchanger = Exchanger(self.store, time.monotonic)
        rules, problems = rules_of(limits)
        assert problems == []
        self.policy = Quotas(Plans(rules, accounts), self.exchanger, Tokens(), 0)
        self.service = asyncio.create_task(self.exchanger.serve())
        self.used = 0
        self.beyond = 0

    async def call(self, chance: random.Random) -> bool:
        """One call, which uses as much as chance will have it; whether it passed."""
        try:
            lease = await self.policy.admit(make_call(max_tokens=100))
        except QuotaExceeded:
            return False
        assert isinstance(lease, QuotaLease)
        await asyncio.sleep(0)
        used = chance.choice([0, 20, 200, 250])
        lease.settle(ended(used // 2, used - used // 2))
        self.used += used
        self.beyond += max(used - 200, 0)
        return True

    async def stop(self) -> None:
        self.service.cancel()
        await asyncio.gather(self.service, return_exceptions=True)


@pytest.fixture
async def nodes(server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Node]]:
    monkeypatch.setattr(exchanger, "GUARD_SECONDS", PATIENCE_SECONDS)
    limits = (day(Dimension.TOTAL_TOKENS, BUDGET), limit(Dimension.CONCURRENT_CALLS, 500, every=None, name="now"))
    nodes = [Node(server, *limits) for _ in range(NODES)]
    await asyncio.gather(*(node.store.connected() for node in nodes))
    yield nodes
    for node in nodes:
        await node.stop()
        await node.store.aclose()


async def clients(node: Node, seed: int, calls: int) -> int:
    """Clients of a node, ten at once; how many calls passed."""
    chance = random.Random(seed)

    async def client() -> int:
        return sum([await node.call(chance) for _ in range(calls)])

    return sum(await asyncio.gather(*(client() for _ in range(10))))


def spent(server: ValkeyServer) -> int:
    """What the server knows as spent of tokens."""
    with server.client() as client:
        (key,) = client.keys("*total_tokens*")
        return int(client.hget(key, "level").split()[0])


async def test_many_nodes_spend_a_budget_to_its_end_and_not_beyond(server: ValkeyServer, nodes: list[Node]) -> None:
    passed = await asyncio.gather(*(clients(node, seed, 40) for seed, node in enumerate(nodes)))
    assert sum(passed) < NODES * 10 * 40  # some were refused
    for node in nodes:
        await node.stop()
    used = sum(node.used for node in nodes)
    assert 0.95 * BUDGET < used <= BUDGET + sum(node.beyond for node in nodes)
    assert spent(server) == used


async def test_a_server_that_is_killed_loses_no_unit(server: ValkeyServer, nodes: list[Node]) -> None:
    await asyncio.gather(*(clients(node, seed, 5) for seed, node in enumerate(nodes)))
    server.kill()
    passed = await asyncio.gather(*(clients(node, 10 + seed, 20) for seed, node in enumerate(nodes)))
    assert sum(passed) < NODES * 10 * 20  # what they held is all that they could spend
    assert all(node.exchanger.down for node in nodes)
    server.start()
    await asyncio.gather(*(node.store.connected() for node in nodes))
    while any(node.exchanger.down for node in nodes):
        await asyncio.gather(*(node.call(random.Random(0)) for node in nodes))
    await asyncio.gather(*(clients(node, 20 + seed, 40) for seed, node in enumerate(nodes)))
    for node in nodes:
        await node.stop()
    used = sum(node.used for node in nodes)
    assert used <= BUDGET + sum(node.beyond for node in nodes)
    assert spent(server) == used
