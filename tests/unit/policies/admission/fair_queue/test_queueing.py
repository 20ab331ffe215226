"""Who is let through, who waits, who is turned away, and that nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest

from gateway import Operation, ReplicaState
from gateway.errors import NoReplicaAvailable, QueueTimeout, QuotaExceeded
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.admission.fair_queue.hall import Hall, assert_nothing_is_left, settled


def tasks() -> int:
    return sum(task.get_name() == "fair_queue" for task in asyncio.all_tasks())


async def test_calls_pass_while_there_are_slots_and_then_wait_for_one() -> None:
    hall = Hall()
    visits = await hall.crowd("a", "a", "a")
    assert [visit.done() for visit in visits] == [True, True, False]
    await hall.finish()
    assert visits[2].done()
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_a_slot_goes_to_the_next_before_anyone_else_can_come() -> None:
    hall = Hall(make_replica(max_concurrent=1))
    _, waiting = await hall.crowd("a", "a")
    hall.leave()
    assert hall.lane().granted == 1
    (late,) = await hall.crowd("b")
    assert (waiting.done(), late.done()) == (True, False)
    await hall.empty()


async def test_a_call_that_no_engine_has_seen_is_charged_nothing() -> None:
    hall = Hall(make_replica(max_concurrent=1))
    await hall.crowd("a", "a")
    await hall.finish(tokens=None)
    await hall.finish(tokens=None)
    assert hall.lane().accounts._of_tenant["a"].counter == 0
    assert_nothing_is_left(hall)


async def test_a_tenant_may_have_so_many_calls_waiting() -> None:
    hall = Hall(make_replica(max_concurrent=1), per_tenant=2)
    await hall.crowd("a", "a", "a")
    with pytest.raises(QuotaExceeded, match="2 calls of this tenant wait for kimi-k2"):
        await hall.come("a")
    (other,) = await hall.crowd("b")
    assert not other.done()
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_so_many_calls_may_wait_in_all() -> None:
    hall = Hall(make_replica(max_concurrent=1), waiting=3)
    await hall.crowd("a", "b", "c", "d")
    with pytest.raises(NoReplicaAvailable, match="3 calls wait"):
        await hall.come("e")
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_who_is_turned_away_hears_when_to_come_again() -> None:
    """By how fast slots came free: every three seconds, two wait, one of them of the tenant that is turned away."""
    hall = Hall(make_replica(max_concurrent=1), per_tenant=1, waiting=2)
    await hall.crowd("a", "a")
    with pytest.raises(QuotaExceeded) as unknown:
        await hall.come("a")
    assert unknown.value.retry_after_seconds == 30.0
    for _ in range(4):
        await asyncio.sleep(3.0)
        await hall.finish()
        await hall.crowd("a")
    with pytest.raises(QuotaExceeded) as alone:
        await hall.come("a")
    await hall.crowd("b")
    with pytest.raises(NoReplicaAvailable) as full:
        await hall.come("c")
    with pytest.raises(QuotaExceeded) as beside:
        await hall.come("a")
    waits = [caught.value.retry_after_seconds for caught in (alone, full, beside)]
    assert waits == pytest.approx([3.0, 6.0, 6.0], abs=0.1)
    await hall.empty()


async def test_a_call_that_waits_too_long_is_told_so() -> None:
    hall = Hall(make_replica(max_concurrent=1), deadline_seconds=7.0)
    started = asyncio.get_running_loop().time()
    (_, first), second = await hall.crowd("a", "a"), None
    await asyncio.sleep(3.0)
    (second,) = await hall.crowd("b")
    for visit, seconds in ((first, 7.0), (second, 10.0)):
        with pytest.raises(QueueTimeout, match="were busy for 7 seconds") as caught:
            await visit
        assert caught.value.status == 504
        assert asyncio.get_running_loop().time() - started == pytest.approx(seconds, abs=0.5)
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_all_who_wait_share_two_timers_and_one_task() -> None:
    """One timer for the first deadline, one to look at the fleet again."""
    hall = Hall(make_replica(max_concurrent=1), deadline_seconds=7.0)
    assert tasks() == 0
    await hall.crowd(*("a" for _ in range(50)))
    assert tasks() == 1
    timers = [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]
    assert len(timers) == 2
    await hall.empty()
    await settled()
    assert tasks() == 0
    assert_nothing_is_left(hall)


@pytest.mark.parametrize("turns", range(4))
async def test_a_client_that_leaves_leaves_nothing_behind(turns: int) -> None:
    """At each point of its way: before it has a place, in its place, when its turn comes, and after."""
    hall = Hall(make_replica(max_concurrent=1))
    await hall.crowd("a")
    visits = [hall.come(tenant) for tenant in ("b", "b", "c")]
    for _ in range(turns):
        await asyncio.sleep(0)
    if turns > 1:
        hall.leave()
    visits[0].cancel()
    await asyncio.gather(*visits[:1], return_exceptions=True)
    assert visits[0].cancelled()
    if turns <= 1:
        await hall.finish()
    await settled()
    assert hall.lane().granted == len(hall.inside) == 1
    await hall.empty()
    assert all(visit.done() for visit in visits)
    assert_nothing_is_left(hall)


async def test_a_client_that_leaves_in_the_moment_of_its_turn_hands_it_on() -> None:
    hall = Hall(make_replica(max_concurrent=1))
    _, leaving, staying = await hall.crowd("a", "b", "c")
    hall.leave()  # its turn, which it has not noticed
    leaving.cancel()
    await settled()
    assert (leaving.cancelled(), staying.done()) == (True, True)
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_a_turn_does_not_go_to_a_client_that_is_leaving() -> None:
    hall = Hall(make_replica(max_concurrent=1))
    _, leaving, staying = await hall.crowd("a", "b", "c")
    leaving.cancel()  # which it has not noticed
    hall.leave()
    await settled()
    assert (leaving.cancelled(), staying.done()) == (True, True)
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_a_client_that_leaves_in_the_moment_of_its_deadline() -> None:
    hall = Hall(make_replica(max_concurrent=1), deadline_seconds=7.0)
    _, leaving, late = await hall.crowd("a", "b", "c")
    asyncio.get_running_loop().skipped_seconds += 7.0
    leaving.cancel()  # which it has not noticed
    hall.lane()._expire()
    with pytest.raises(QueueTimeout):
        await late
    assert leaving.cancelled()
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_a_replica_that_gets_ready_takes_from_the_queue() -> None:
    second = make_replica("b", max_concurrent=2, state=ReplicaState.STARTING)
    hall = Hall(make_replica("a", max_concurrent=1), second)
    visits = await hall.crowd("a", "a", "a", "a")
    assert [visit.done() for visit in visits] == [True, False, False, False]
    hall.fleet.report(second, ReplicaState.READY)
    await settled()
    assert [visit.done() for visit in visits] == [True, True, True, False]
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_a_replica_that_fails_gives_no_slots() -> None:
    second = make_replica("b", max_concurrent=2)
    hall = Hall(make_replica("a", max_concurrent=1), second)
    await hall.crowd("a", "a", "a")
    hall.fleet.report(second, ReplicaState.FAILED)
    (waiting,) = await hall.crowd("a")
    await hall.finish()
    await hall.finish()
    assert not waiting.done()
    await hall.finish()
    assert waiting.done()
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_without_any_ready_replica_nobody_is_made_to_wait() -> None:
    """Placement says at once why; but those who wait already may see the replica come back."""
    replica = make_replica(max_concurrent=1)
    hall = Hall(replica)
    _, waiting = await hall.crowd("a", "a")
    hall.fleet.report(replica, ReplicaState.UNREACHABLE)
    (late,) = await hall.crowd("b")
    assert (waiting.done(), late.done()) == (False, True)
    await hall.finish(tokens=None)
    await hall.finish(tokens=None)
    assert not waiting.done()
    hall.fleet.report(replica, ReplicaState.READY)
    await settled()
    assert waiting.done()
    await hall.empty()
    assert_nothing_is_left(hall)


async def test_operations_that_few_replicas_can_do_wait_for_those() -> None:
    """And what is let through always finds a free slot, wherever the others were placed."""
    all_round = make_replica("a", max_concurrent=1)
    chatty = make_replica("b", max_concurrent=2, operations=frozenset({Operation.CHAT}))
    hall = Hall(all_round, chatty)
    (tokenizing,) = await hall.crowd("a", operation=Operation.TOKENIZE)
    visits = await hall.crowd("a", "a", "a", operation=Operation.CHAT)
    (second,) = await hall.crowd("a", operation=Operation.TOKENIZE)
    assert tokenizing.done()
    assert [visit.done() for visit in visits] == [True, True, False]
    await hall.finish()
    assert (visits[2].done(), second.done()) == (True, False)
    for _ in range(3):
        await hall.finish()
    assert second.done()
    await hall.empty()
    assert hall.lane(Operation.TOKENIZE).granted == hall.lane().granted == 0


async def test_what_nothing_can_do_is_left_to_placement() -> None:
    hall = Hall(make_replica(operations=frozenset({Operation.CHAT})))
    assert await hall.policy.admit(make_call(operation=Operation.TOKENIZE)) is None


async def test_calls_of_before_a_reload_still_count() -> None:
    old, added = make_replica("a", max_concurrent=1), make_replica("b", max_concurrent=1)
    before = Hall(old)
    _, waiting = await before.crowd("a", "a")
    after = Hall(old, added, lanes=before.lanes)
    passing, stuck = await after.crowd("b", "b")
    assert (passing.done(), stuck.done()) == (True, False)
    await before.finish()
    assert (waiting.done(), stuck.done()) == (True, False)
    await before.finish()
    assert stuck.done()
    await after.empty()
    same = Hall(old, added, lanes=before.lanes)
    assert same.lane() is after.lane()


async def test_a_reload_that_changes_nothing_keeps_the_queue() -> None:
    replica = make_replica(max_concurrent=1)
    before = Hall(replica)
    _, waiting = await before.crowd("a", "a")
    after = Hall(replica, lanes=before.lanes)
    (late,) = await after.crowd("a")
    await before.finish()
    assert (waiting.done(), late.done()) == (True, False)
    await before.finish()
    assert late.done()
    await after.empty()
    assert_nothing_is_left(after)


async def test_closing_stops_looking() -> None:
    hall = Hall(make_replica(max_concurrent=1))
    _, waiting = await hall.crowd("a", "a")
    await hall.lanes.aclose()
    await settled()
    assert tasks() == 0
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await hall.empty()
    assert_nothing_is_left(hall)
