"""What the script leaves in the server: how long it is kept, what is forgotten, and in which order tellings count."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import valkey

from gateway import Budget, Exchange
from plugins.valkey_store import script
from plugins.valkey_store.store import GRACE_SECONDS, MEMORY_SECONDS
from tests.support.budget_store_cases import figures, one
from tests.support.valkey import ValkeyServer
from tests.unit.plugins.valkey_store.benches import ValkeyBench


@pytest.fixture
async def bench(shared_valkey: ValkeyServer) -> AsyncIterator[ValkeyBench]:
    bench = ValkeyBench(shared_valkey)
    yield bench
    await bench.aclose()


@pytest.fixture
def client(shared_valkey: ValkeyServer) -> valkey.Valkey:
    with shared_valkey.client() as client:
        yield client


def key_of(bench: ValkeyBench, name: str) -> str:
    return f"{bench.url.prefix}:budget:{{{name}}}"


async def test_a_calendar_budget_is_kept_a_little_longer_than_it_lasts(
    bench: ValkeyBench, client: valkey.Valkey
) -> None:
    node, budget = await bench.node(), Budget(key="a", capacity=100, ends_at=bench.now + 500)
    await one(node, budget, wanted=60)
    assert 0 <= 500 + GRACE_SECONDS - client.pttl(key_of(bench, "a")) / 1000 < 100


async def test_a_node_whose_clock_is_behind_gets_no_second_budget(bench: ValkeyBench, client: valkey.Valkey) -> None:
    node, budget = await bench.node(), Budget(key="a", capacity=100, ends_at=bench.now + 500)
    await one(node, budget, wanted=60)
    bench.now += 500 + GRACE_SECONDS - 1
    assert figures(await one(node, budget, spent=60, wanted=60)) == (40, 0, 40)
    bench.now += 1
    client.delete(key_of(bench, "a"))  # as the server itself does by then
    assert figures(await one(node, budget, wanted=60)) == (0, 0, 0)
    assert not client.exists(key_of(bench, "a"))


async def test_a_bucket_is_forgotten_when_it_is_whole_again(bench: ValkeyBench, client: valkey.Valkey) -> None:
    node, budget = await bench.node(), Budget(key="a", capacity=100, refill_per_second=0.01)
    await one(node, budget, spent=50)
    whole_seconds = 5_000 + bench.lease_seconds + MEMORY_SECONDS
    assert 0 <= whole_seconds - client.pttl(key_of(bench, "a")) / 1000 < 100


async def test_what_nothing_brings_back_is_never_forgotten(bench: ValkeyBench, client: valkey.Valkey) -> None:
    node, budget = await bench.node(), Budget(key="a", capacity=100)
    await one(node, budget, wanted=10)
    assert client.ttl(key_of(bench, "a")) < 86_400  # nothing was used: a slice that comes to nothing leaves nothing
    await one(node, budget, spent=10)
    assert client.ttl(key_of(bench, "a")) > 9 * 365 * 86_400


async def test_nodes_that_are_long_gone_are_forgotten(bench: ValkeyBench, client: valkey.Valkey) -> None:
    budget = Budget(key="a", capacity=1_000)
    nodes = [await bench.node() for _ in range(3)]
    for node in nodes:
        await one(node, budget, wanted=10)
    bench.now += bench.lease_seconds + MEMORY_SECONDS - 1
    await one(nodes[0], budget)
    assert client.hlen(key_of(bench, "a")) == 4
    bench.now += 1
    await one(nodes[0], budget)
    assert client.hlen(key_of(bench, "a")) == 2


async def test_a_rate_that_changes_takes_no_fraction_of_the_old_one_along(bench: ValkeyBench) -> None:
    node = await bench.node()
    slow, fast = (Budget(key="a", capacity=100, refill_per_second=rate) for rate in (1 / 60, 1.0))
    await one(node, slow, spent=100)
    bench.now += 59.0
    assert (await one(node, slow)).free == 0
    bench.now += 0.5
    assert (await one(node, fast)).free == 0
    bench.now += 0.9
    assert (await one(node, fast)).free == 1


def tell(
    client: valkey.Valkey, key: str, node: str, last: int, *, spent: int = 0, at: float = 0.0, base: int = 1
) -> list[int]:
    arguments = (node, last, base, 0, spent, 0, 10, 0, 1_000, 0, 1, 0, 10_000_000, 10**9, round(at * 1e6))
    return client.eval(script.SOURCE, 1, key, *arguments)


def test_a_telling_that_was_overtaken_by_a_later_one_does_not_count(client: valkey.Valkey, bench: ValkeyBench) -> None:
    key = key_of(bench, "a")
    assert tell(client, key, "n", 8, spent=30) == [10, 960, 10]
    assert tell(client, key, "n", 7, spent=20) == [0, 0, 0]
    assert tell(client, key, "n", 9, spent=30) == [10, 960, 10]
    assert tell(client, key, "n", 10, spent=1, base=9) == [10, 959, 10]


def test_a_crowd_of_nodes_that_came_and_went_takes_bounded_space(client: valkey.Valkey, bench: ValkeyBench) -> None:
    key = key_of(bench, "a")
    for number in range(200):
        tell(client, key, str(number), 1, at=number * 11.0)
    assert client.hlen(key) == 64 + 2
    assert client.hexists(key, "n:198")
    assert not client.hexists(key, "n:50")


def test_a_clock_that_jumps_back_refills_nothing(client: valkey.Valkey, bench: ValkeyBench) -> None:
    key = key_of(bench, "a")
    tell(client, key, "n", 2, spent=100, at=1_000.0)
    assert tell(client, key, "m", 2, at=900.0) == [10, 880, 10]


async def test_keys_may_hold_anything(bench: ValkeyBench, client: valkey.Valkey) -> None:
    node = await bench.node()
    keys = ["", "}{", "{", "a\r\nb", "ß∂\udcff", "x" * 10_000, "x" * 10_001, "a b", "*"]
    for _ in range(2):
        grants = await node.exchange([Exchange(budget=Budget(key=key, capacity=9), wanted=3) for key in keys])
    assert [figures(grant) for grant in grants] == [(3, 3, 6)] * len(keys)
    assert max(len(name) for name in client.keys(f"{bench.url.prefix}:*")) < 300
