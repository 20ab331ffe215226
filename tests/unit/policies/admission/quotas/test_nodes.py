"""Several nodes and one store: who holds what, when it is told, given back, and lost."""

from __future__ import annotations

import asyncio

import pytest

from gateway import Dimension
from gateway.errors import QuotaExceeded
from tests.unit.builders import make_call, until
from tests.unit.policies.admission.quotas.scene import NEVER_RUN, AtOnceStore, Node, Scene, day, ended, limit


async def admitted(node: Node, most: int = 1_000) -> int:
    """How many calls a node lets pass before it refuses one."""
    for number in range(most):
        try:
            await node.admit()
        except QuotaExceeded:
            return number
    return most


async def test_nodes_share_a_budget_to_the_unit() -> None:
    scene = Scene()
    nodes = [scene.node(limit(amount=100), name=name) for name in "abcd"]
    total = 0
    for _ in range(200):
        for node in nodes:
            total += await admitted(node, 1)
    await asyncio.gather(*(node.stop() for node in nodes))
    assert total + await admitted(nodes[0]) == 100


async def test_a_small_budget_is_exact_on_many_nodes() -> None:
    scene = Scene()
    nodes = [scene.node(limit(amount=3), name=name) for name in "abcd"]
    assert sum([await admitted(node) for node in nodes]) == 3


async def test_the_common_call_asks_nobody() -> None:
    scene = Scene()
    node = scene.node(limit(amount=1_000_000), day(amount=100_000_000, name="tokens"))
    for _ in range(500):
        (await node.admit()).settle(ended(100, 10))
        scene.clock.now += 0.01
    assert len(node.store.asked) < 15


async def test_a_call_that_needs_no_store_does_not_give_way() -> None:
    node = Scene().node(limit(amount=1_000_000))
    for _ in range(300):
        await node.admit()
        node.clock.now += 0.001
    coroutine = node.policy.admit(make_call(max_tokens=1))
    with pytest.raises(StopIteration):
        coroutine.send(None)


async def test_a_process_alone_never_waits_and_gives_nothing_back_in_haste() -> None:
    scene = Scene(AtOnceStore)
    few = limit(Dimension.CONCURRENT_CALLS, 2, every=None, name="now")
    node = scene.node(few, day(amount=1_100, name="tokens"), limit(amount=12))
    for number in range(13):
        coroutine = node.policy.admit(make_call(max_tokens=10))
        with pytest.raises(StopIteration if number < 10 else QuotaExceeded) as caught:
            coroutine.send(None)
        if number < 9:
            caught.value.value.settle(ended(100, 10))
    assert all(
        exchange.returned == 0
        for asked in node.store.asked
        for exchange in asked
        if not exchange.budget.refill_per_second
    )
    await node.stop()
    assert scene.spent() == 10 * 110 + 10


async def test_a_bucket_of_a_process_alone_refills_from_the_moment_it_was_used() -> None:
    scene = Scene(AtOnceStore)
    node = scene.node(limit(amount=1, every="second"))
    for _ in range(5):
        assert await admitted(node) == 1
        scene.clock.now += 1


async def test_waiting_calls_share_one_exchange() -> None:
    scene = Scene()
    node = scene.node(limit(amount=40), day(amount=1_000_000, name="tokens"))
    node.store.gate = asyncio.Event()
    calls = [asyncio.ensure_future(node.admit()) for _ in range(50)]
    await until(lambda: bool(node.store.asked))
    node.store.gate.set()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, QuotaExceeded) for each in done) == 10
    # One for those that came first, one for those that met it under way, and one at most for what was told at once.
    assert len(node.store.asked) <= 4


async def test_a_slice_that_nobody_uses_goes_back() -> None:
    scene = Scene()
    one, other = (scene.node(limit(amount=1_000), name=name) for name in "ab")
    for _ in range(200):
        (await one.admit()).settle(NEVER_RUN)
        scene.clock.now += 0.005
    assert len(one.exchanger) == 1
    scene.clock.now += 2
    await one.rest()
    await one.rest()
    assert len(one.exchanger) == 0
    assert await admitted(other, 2_000) == 1_000


async def test_a_node_that_stops_gives_all_back_and_settles_still() -> None:
    scene = Scene()
    one, other = (scene.node(day(Dimension.TOTAL_TOKENS, 1_100), name=name) for name in "ab")
    leases = [await one.admit() for _ in range(5)]
    await one.stop()
    assert await admitted(other) == 5
    for lease in leases:
        lease.settle(NEVER_RUN)
    await one.exchanger.settled()
    assert await admitted(other) == 5


async def test_a_node_that_dies_loses_its_slice_and_its_calls_at_once() -> None:
    scene = Scene()
    one, other = (scene.node(limit(Dimension.CONCURRENT_CALLS, 4, every=None), name=name) for name in "ab")
    assert await admitted(one) == 4
    assert await admitted(other) == 0
    scene.clock.now += 31  # it renews nothing
    assert await admitted(other) == 4


async def test_calls_in_flight_keep_their_places_as_long_as_they_last() -> None:
    scene = Scene()
    one, other = (scene.node(limit(Dimension.CONCURRENT_CALLS, 2, every=None), name=name) for name in "ab")
    leases = [await one.admit() for _ in range(2)]
    for _ in range(20):
        scene.clock.now += 10
        await one.rest()
        assert await admitted(other, 1) == 0
    leases[0].settle(ended())
    await one.exchanger.settled()
    assert await admitted(other) == 1


async def test_a_debt_is_told_at_once() -> None:
    scene = Scene()
    one, other = (scene.node(day(Dimension.OUTPUT_TOKENS, 100), name=name) for name in "ab")
    lease = await one.admit(max_tokens=None)  # typically 50
    lease.settle(ended(5, 180))
    await one.exchanger.settled()
    assert scene.spent() == 180
    with pytest.raises(QuotaExceeded, match="and 0 are left"):
        await other.admit()
    await one.stop()
    assert scene.spent() == 180


@pytest.mark.parametrize("when", ["before the exchange", "while it is under way", "after it"])
async def test_a_call_that_is_cancelled_takes_nothing(when: str) -> None:
    scene = Scene()
    node = scene.node(
        limit(amount=5), day(amount=1_000, name="tokens"), limit(Dimension.CONCURRENT_CALLS, 3, every=None, name="now")
    )
    node.store.gate = asyncio.Event()
    calls = [asyncio.ensure_future(node.admit()) for _ in range(3)]
    if when != "before the exchange":
        await until(lambda: bool(node.store.asked))
    if when == "after it":
        node.store.gate.set()
        await node.exchanger.settled()
    cancelled, *others = calls
    cancelled.cancel()
    node.store.gate.set()
    leases = await asyncio.gather(*others)
    done = (await asyncio.gather(cancelled, return_exceptions=True))[0]
    if not isinstance(done, asyncio.CancelledError):
        leases.append(done)  # it was through before it could be cancelled
    for lease in leases:
        lease.settle(ended(100, 10))
    await node.stop()
    assert scene.spent() == len(leases) * 111
    assert await admitted(scene.node(limit(amount=5), name="b")) == 5 - len(leases)


async def test_the_service_gives_all_back_when_it_is_cancelled() -> None:
    scene = Scene()
    node = scene.node(day(Dimension.REQUESTS, 1_000))
    service = asyncio.ensure_future(node.exchanger.serve())
    for _ in range(50):
        (await node.admit()).settle(ended())
        scene.clock.now += 0.01
    service.cancel()
    with pytest.raises(asyncio.CancelledError):
        await service
    assert scene.spent() == 50
    assert len(node.exchanger) == 0
