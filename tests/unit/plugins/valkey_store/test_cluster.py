"""A cluster of real servers: budgets of one exchange lie on several of them, and slots move."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway import Budget, Exchange, Grant, StoreUnavailable
from plugins.valkey_store import servers
from plugins.valkey_store.servers import slot_of
from plugins.valkey_store.store import ValkeyStore
from plugins.valkey_store.url import read_url
from tests.support.budget_store_cases import figures, one
from tests.support.valkey_cluster import ValkeyCluster, valkey_cluster
from tests.unit.plugins.valkey_store.benches import PATIENT_SECONDS

BUDGETS = [Budget(key=f"budget {number}", capacity=100) for number in range(12)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    with valkey_cluster() as cluster:
        yield cluster


@pytest.fixture
async def store(cluster: ValkeyCluster, request: pytest.FixtureRequest) -> AsyncIterator[ValkeyStore]:
    url = read_url(f"{cluster.servers[0].url}?prefix={request.node.name.replace('[', '_').strip(']')}")
    store = ValkeyStore(url, bound_seconds=PATIENT_SECONDS)
    yield store
    await store.aclose()


def key_of(store: ValkeyStore, budget: Budget) -> str:
    return f"{store._url.prefix}:budget:{{{budget.key}}}"


def slot_of_budget(budget: Budget) -> int:
    return slot_of(b"{%b}" % budget.key.encode())


def budgets_of(cluster: ValkeyCluster, server: int, name: str = "budget") -> Iterator[Budget]:
    """Budgets whose keys were that server's when the cluster was formed."""
    share = 16_384 // len(cluster.servers)
    budgets = (Budget(key=f"{name} {number}", capacity=100) for number in itertools.count())
    return (budget for budget in budgets if slot_of_budget(budget) // share == server)


def test_slots_are_those_of_the_specification() -> None:
    assert slot_of(b"123456789") == 0x31C3  # its own example
    assert slot_of(b"a{123456789}b{c}") == 0x31C3
    assert slot_of(b"{}123") != slot_of(b"{}456")


async def test_an_exchange_spreads_over_the_servers(cluster: ValkeyCluster, store: ValkeyStore) -> None:
    told = [Exchange(budget=budget, wanted=number) for number, budget in enumerate(BUDGETS)]
    for _ in range(2):
        grants = await store.exchange(told)
        assert [grant.granted for grant in grants] == list(range(12))
    for server in cluster.servers:
        with server.client() as client:
            assert 0 < len(client.keys(f"{store._url.prefix}:*")) < 12


async def test_a_slot_on_the_move_is_followed(cluster: ValkeyCluster, store: ValkeyStore) -> None:
    """The whole of a move: the key is not where it was (ASK), then the slot is not (MOVED), and the books go on."""
    budget = next(budgets_of(cluster, 0, "moving"))
    slot = slot_of_budget(budget)
    assert figures(await one(store, budget, wanted=10)) == (10, 90, 10)
    source, target = cluster.servers[0], cluster.servers[1]
    cluster.move(slot, 0, 1)
    with source.client() as client:
        client.migrate("127.0.0.1", target.port, key_of(store, budget), 0, 5_000)
    with target.client() as client:
        client.script_flush()
    assert figures(await one(store, budget, spent=4)) == (0, 90, 6)
    cluster.moved(slot, 1)
    assert figures(await one(store, budget, spent=2)) == (0, 90, 4)
    assert figures(await one(store, budget, spent=2)) == (0, 90, 2)
    with target.client() as client:
        assert client.exists(key_of(store, budget))


async def test_a_slot_that_has_moved_is_a_reason_to_ask_for_all(
    cluster: ValkeyCluster, store: ValkeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "REFRESH_SECONDS", 0.0)
    first, second = itertools.islice(budgets_of(cluster, 2, "moved"), 2)
    await one(store, BUDGETS[0])
    cluster.moved(slot_of_budget(first), 1)
    cluster.moved(slot_of_budget(second), 1)
    assert (await one(store, first, wanted=7)).granted == 7
    known = store._servers
    assert known is not None
    async with asyncio.timeout(PATIENT_SECONDS):
        while known.link(key_of(store, second).encode()).url.port != cluster.servers[1].port:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)


async def test_a_server_of_a_cluster_that_fails_takes_only_its_own_budgets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "REFRESH_SECONDS", 0.0)
    with valkey_cluster(3, "cluster-require-full-coverage no") as broken:
        store = ValkeyStore(read_url(broken.servers[0].url), bound_seconds=PATIENT_SECONDS)
        await store.exchange([Exchange(budget=budget, wanted=10) for budget in BUDGETS])
        broken.servers[2].kill()
        lost, *kept = (next(budgets_of(broken, server)) for server in (2, 0, 1))
        with pytest.raises(StoreUnavailable):
            await store.exchange([Exchange(budget=budget, spent=3) for budget in (*kept, lost)])
        # What the others have heard counts once, though it is told again.
        grants = await store.exchange([Exchange(budget=budget, spent=3) for budget in kept])
        assert [figures(grant) for grant in grants] == [(0, 90, 7)] * 2
        # Another takes over what was the dead one's: that is found out without a word from the dead.
        broken.moved(slot_of_budget(lost), 0, dead=2)
        assert figures(await heard(store, lost, spent=3)) == (0, 97, 0)
        await store.aclose()


async def heard(store: ValkeyStore, budget: Budget, **what: int) -> Grant:
    while True:
        try:
            return await one(store, budget, **what)
        except StoreUnavailable:
            await asyncio.sleep(0)
