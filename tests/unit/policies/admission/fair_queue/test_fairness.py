"""Tenants get tokens by their shares, whatever one of them sends; priorities come first, and never for ever."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping

import pytest

from gateway import Principal
from policies.admission.fair_queue.accounts import MOST_ACCOUNTS
from policies.admission.fair_queue.order import AGED_TURN
from tests.unit.builders import make_replica
from tests.unit.policies.admission.fair_queue.hall import Hall, assert_nothing_is_left

SLOTS = 4
ESTIMATE = 150  # what the FakeCounter says of every call


async def backlogged(
    shares: Mapping[str, float], waiting: Mapping[str, int], sizes: Mapping[str, tuple[int, int]], rounds: int = 600
) -> Counter[str]:
    """Tokens by tenant of `rounds` calls that end while every tenant has so many in the queue; sizes are random."""
    dice = random.Random(11)
    hall = Hall(make_replica(max_concurrent=SLOTS), per_tenant=1_000, waiting=10_000)
    for tenant, count in waiting.items():
        await hall.crowd(*[tenant] * count, share=shares[tenant])
    for _ in range(rounds):
        tenant = hall.inside[0][0]
        await hall.finish(dice.randint(*sizes[tenant]))
        await hall.crowd(tenant, share=shares[tenant])
    served = hall.served.copy()
    await hall.empty()
    assert_nothing_is_left(hall)
    return served


@pytest.mark.parametrize("shares", [(1.0, 1.0), (3.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("sizes", [((100, 200), (100, 200)), ((10, 400), (10, 400)), ((1, 30), (300, 900))])
async def test_backlogged_tenants_get_tokens_by_their_shares(
    shares: tuple[float, float], sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    """One of them has fifty times as many calls in the queue, or calls thirty times as long: it changes nothing."""
    share_of, size_of = dict(zip("ab", shares, strict=True)), dict(zip("ab", sizes, strict=True))
    served = await backlogged(share_of, {"a": 300, "b": 6}, size_of)
    # The difference never exceeds two of the largest calls, and what the calls in flight were misjudged by.
    largest = max(ESTIMATE, *(high for _, high in sizes)) / min(shares)
    assert abs(served["a"] / shares[0] - served["b"] / shares[1]) <= 2 * largest + SLOTS * largest


async def test_three_tenants_and_one_of_them_light() -> None:
    """Who asks for less than its share gets all of it; the others share the rest."""
    hall = Hall(make_replica(max_concurrent=SLOTS), per_tenant=1_000)
    await hall.crowd(*["a"] * 100, *["b"] * 100)
    light = None
    for turn in range(300):
        if turn % 10 == 0:
            (light,) = await hall.crowd("c")
        tenant = await hall.finish()
        if tenant != "c":
            await hall.crowd(tenant)
        if turn % 10 == 3:
            assert light is not None
            assert light.done()
    assert abs(hall.served["a"] - hall.served["b"]) <= 6 * ESTIMATE
    await hall.empty()


async def test_an_interactive_call_gets_the_next_slot() -> None:
    """However deep the queue of the other tenant is: that one has every slot, and charged for or not, it is to share them."""
    hall = Hall(make_replica(max_concurrent=SLOTS), per_tenant=1_000)
    await hall.crowd(*["batch"] * 500)
    for _ in range(50):
        (visit,) = await hall.crowd("chat")
        assert not visit.done()
        await hall.finish()
        assert visit.done()
        await hall.finish(place=len(hall.inside) - 1)
    await hall.empty()


@pytest.mark.parametrize(("share", "slots"), [(1.0, 2), (3.0, 3)])
async def test_who_comes_back_gets_its_share_of_the_slots_before_turns_are_taken(share: float, slots: int) -> None:
    """Those that are in flight were charged before anybody else came; to take turns from then on would be to wait for half."""
    hall = Hall(make_replica(max_concurrent=SLOTS), per_tenant=1_000)
    await hall.crowd(*["batch"] * 100)
    for _ in range(2 * SLOTS):
        await hall.finish()
    await hall.crowd(*["chat"] * 100, share=share)
    hall.order.clear()
    for _ in range(slots):
        await hall.finish()
    assert hall.order == ["chat"] * slots
    for _ in range(40):
        await hall.finish()
    chats = hall.order[slots:].count("chat")
    assert abs(chats - 40 * share / (1 + share)) <= 2
    await hall.empty()


async def test_who_has_its_share_of_the_slots_begins_no_lower() -> None:
    hall = Hall(make_replica(max_concurrent=SLOTS), per_tenant=1_000)
    await hall.crowd("a", "b", "a", "b")
    await hall.crowd(*["a"] * 20)
    await hall.crowd(*["b"] * 20)
    hall.order.clear()
    for _ in range(8):
        await hall.finish()
    assert abs(hall.order.count("a") - hall.order.count("b")) <= 2
    await hall.empty()


async def test_a_pause_earns_nothing() -> None:
    hall = Hall(make_replica(max_concurrent=SLOTS), per_tenant=1_000)
    await hall.crowd("b", *["a"] * 100)
    for _ in range(60):
        await hall.finish()
    await hall.crowd(*["b"] * 30)
    hall.order.clear()
    for _ in range(20):
        await hall.finish()
    assert abs(hall.order.count("a") - hall.order.count("b")) <= 2
    await hall.empty()


async def test_what_was_used_while_nobody_waited_is_not_held_against_anyone() -> None:
    hall = Hall(make_replica(max_concurrent=SLOTS), per_tenant=1_000)
    for _ in range(100):
        await hall.crowd("a")
        await hall.finish(10_000)
    hall.order.clear()
    await hall.crowd(*["b"] * 20, *["a"] * 20)
    for _ in range(16):
        await hall.finish()
    assert abs(hall.order.count("a") - hall.order.count("b")) <= 2
    await hall.empty()


async def test_calls_of_one_tenant_keep_their_order() -> None:
    hall = Hall(make_replica(max_concurrent=1))
    visits = await hall.crowd(*["a"] * 20)
    for visit in visits[1:]:
        assert not visit.done()
        await hall.finish()
        assert visit.done()
    await hall.empty()


async def test_a_higher_priority_comes_first() -> None:
    hall = Hall(make_replica(max_concurrent=1))
    await hall.crowd("a")
    await hall.crowd("low", "low")
    await hall.crowd("high", "high", priority=5)
    await hall.crowd("middle", priority=1)
    await hall.empty()
    assert hall.order == ["a", "high", "high", "middle", "low", "low"]


async def test_a_lower_priority_gets_every_fourth_slot_once_it_has_waited() -> None:
    hall = Hall(make_replica(max_concurrent=1), ageing_seconds=5.0, per_tenant=1_000, deadline_seconds=1_000.0)
    await hall.crowd("a")
    await hall.crowd(*["low"] * 40)
    await hall.crowd(*["high"] * 40, priority=1)
    hall.order.clear()
    for _ in range(12):
        await hall.finish()
    assert hall.order == ["high"] * 12
    await asyncio.sleep(6.0)
    hall.order.clear()
    for _ in range(12):
        await hall.finish()
    assert hall.order.count("low") == 12 // AGED_TURN
    await hall.empty()


async def test_of_several_lower_priorities_none_starves() -> None:
    hall = Hall(make_replica(max_concurrent=1), ageing_seconds=5.0, per_tenant=1_000, deadline_seconds=1_000.0)
    await hall.crowd(*["top"] * 60, priority=9)
    await hall.crowd(*["middle"] * 3, priority=5)
    await asyncio.sleep(1.0)
    await hall.crowd("bottom")
    await asyncio.sleep(6.0)
    for _ in range(5 * AGED_TURN):
        await hall.finish()
    assert {"middle", "bottom"} <= set(hall.order)
    await hall.empty()


async def test_tenants_without_calls_are_forgotten_when_they_are_many() -> None:
    hall = Hall()
    accounts = hall.lane().accounts
    await hall.crowd("stays")
    for number in range(MOST_ACCOUNTS + 10):
        accounts.of(Principal("k", "k", f"tenant {number}"))
    assert len(accounts) <= MOST_ACCOUNTS
    assert accounts._of_tenant["stays"].running == 1
    await hall.empty()
