"""Nodes that compete, exchanges that overlap, callers that leave, the server's own clock, and what a node keeps in mind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from gateway import Budget, Exchange
from plugins.valkey_store.store import ValkeyStore
from plugins.valkey_store.url import read_url
from tests.support.budget_store_cases import figures, one
from tests.support.valkey import ValkeyServer
from tests.unit.plugins.valkey_store.benches import PATIENT_SECONDS, ValkeyBench


@pytest.fixture
async def bench(shared_valkey: ValkeyServer) -> AsyncIterator[ValkeyBench]:
    bench = ValkeyBench(shared_valkey)
    yield bench
    await bench.aclose()


async def test_nodes_that_compete_never_get_more_than_there_is(bench: ValkeyBench) -> None:
    dice = random.Random(7)
    budgets = [Budget(key=f"b{number}", capacity=1_000) for number in range(3)]
    nodes = [await bench.node() for _ in range(4)]
    spent = dict.fromkeys(range(3), 0)

    async def spend(node: ValkeyStore) -> None:
        for _ in range(60):
            order = dice.sample(range(3), 3)
            grants = await node.exchange([Exchange(budget=budgets[each], wanted=dice.randint(1, 9)) for each in order])
            for each, grant in zip(order, grants, strict=True):
                spent[each] += grant.granted
            await node.exchange(
                [Exchange(budget=budgets[each], spent=grant.granted) for each, grant in zip(order, grants, strict=True)]
            )

    await asyncio.gather(*(spend(node) for node in nodes))
    assert set(spent.values()) == {1_000}
    assert [(await one(nodes[0], budget)).free for budget in budgets] == [0, 0, 0]


async def test_exchanges_of_one_node_that_overlap_count_each_once(bench: ValkeyBench) -> None:
    node, budget = await bench.node(), Budget(key="a", capacity=1_000)
    others = [Budget(key=f"other {number}", capacity=10) for number in range(50)]
    await asyncio.gather(
        *(node.exchange([Exchange(budget=budget, spent=3), Exchange(budget=other, wanted=1)]) for other in others)
    )
    assert (await one(node, budget)).free == 850


async def test_a_caller_that_leaves_can_tell_again(bench: ValkeyBench) -> None:
    node, other, budget = await bench.node(), await bench.node(), Budget(key="a", capacity=100)
    leaving = asyncio.create_task(one(node, budget, spent=10, wanted=50))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert leaving.cancelled()
    assert figures(await one(node, budget, spent=10, wanted=20)) == (20, 70, 20)
    assert (await one(other, budget)).free == 70


async def test_a_budget_that_stands_twice_is_an_error(bench: ValkeyBench) -> None:
    node, budget = await bench.node(), Budget(key="a", capacity=100)
    with pytest.raises(ValueError, match="twice"):
        await node.exchange([Exchange(budget=budget), Exchange(budget=budget)])


async def test_time_is_the_servers(shared_valkey: ValkeyServer) -> None:
    url, budget = read_url(shared_valkey.url + "?prefix=times"), Budget(key="a", capacity=10**9, refill_per_second=1e6)
    store = ValkeyStore(url, bound_seconds=PATIENT_SECONDS)
    with shared_valkey.client() as client:
        seconds, micros = client.time()
        before = seconds * 10**6 + micros
        await one(store, budget, spent=10**9)
        level = client.hget("times:budget:{a}", "level").split()
        seconds, micros = client.time()
        assert before < int(level[3]) < seconds * 10**6 + micros
        # A unit a microsecond: what is free is the time that has passed, but for the truncation to whole ones.
        free = (await one(store, budget)).free
        level = client.hget("times:budget:{a}", "level").split()
        assert free == 10**9 - int(level[0]) > 0
    await store.aclose()


async def test_a_node_keeps_nothing_of_budgets_that_it_does_not_hold(bench: ValkeyBench) -> None:
    node = await bench.node()
    for number in range(100):
        budget = Budget(key=f"user {number}", capacity=10)
        await one(node, budget, wanted=5)
        await one(node, budget, spent=2, returned=3)
    assert len(node._books) == 0


async def test_keys_of_two_installations_do_not_meet(shared_valkey: ValkeyServer) -> None:
    budget = Budget(key="a", capacity=100)
    for prefix in ("staging", "production"):
        store = ValkeyStore(read_url(f"{shared_valkey.url}?prefix={prefix}"), bound_seconds=PATIENT_SECONDS)
        assert (await one(store, budget, wanted=100)).granted == 100
        await store.aclose()
