from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway import Operation, ReplicaState
from gateway.errors import UpstreamBroken, UpstreamOverloaded, UpstreamRefused
from gateway.fleet.condition import Condition
from gateway.fleet.pool import Member, Pool
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.settings import BreakerSettings
from tests.unit.builders import make_pool, make_replica

SETTINGS = BreakerSettings(minimum_calls=2, trial_calls=1, open_seconds=5.0)
BROKEN = UpstreamBroken("500")


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as found:
        yield found


def pool_of(count: int, settings: BreakerSettings | None = SETTINGS) -> Pool:
    return make_pool(*(make_replica(name) for name in "abcdefgh"[:count]), breaker=settings)


def fail(pool: Pool, member: Member, times: int = 2) -> None:
    for _ in range(times):
        slot = pool.take(member)
        slot.failed(BROKEN)
        slot.release()


def serve(pool: Pool, member: Member) -> None:
    slot = pool.take(member)
    slot.well()
    slot.release()


def available(pool: Pool) -> list[str]:
    return [replica.name for replica in pool.available(Operation.CHAT)]


def test_a_replica_whose_calls_fail_is_ejected_and_said_to_be_once(log: list[Any]) -> None:
    pool = pool_of(2)
    fail(pool, pool.members[0], times=5)
    replica = pool.members[0].replica
    assert (replica.state, replica.state_reason) == (ReplicaState.EJECTED, "too many calls failed here")
    assert (replica.breaker, replica.slots, replica.in_flight) == ("open", 0, 0)
    assert available(pool) == ["b"]
    assert [(entry["event"], entry["replica"], entry["because"]) for entry in log] == [
        ("replica ejected", "a", "2 of 2 failed")
    ]
    assert pool.not_ready_reasons() is None


def test_refusals_and_overloads_eject_nobody() -> None:
    pool = pool_of(2)
    for error in [UpstreamRefused("no", engine_status=400), UpstreamOverloaded("full")] * 20:
        slot = pool.take(pool.members[0])
        slot.failed(error)
        slot.release()
    assert pool.members[0].condition.stands


def test_without_settings_nobody_is_ejected() -> None:
    for settings in (None, BreakerSettings(enabled=False, minimum_calls=1)):
        pool = pool_of(2, settings)
        fail(pool, pool.members[0], times=50)
        assert available(pool) == ["a", "b"]


# The floor


@pytest.mark.parametrize(("count", "share", "left"), [(1, 0.0, 1), (2, 0.5, 1), (3, 0.5, 2), (4, 0.25, 1), (4, 1.0, 4)])
def test_a_floor_of_the_pool_is_never_ejected(count: int, share: float, left: int) -> None:
    settings = BreakerSettings(minimum_calls=2, floor_share=share)
    pool = pool_of(count, settings)
    for member in pool.members:
        fail(pool, member, times=10)
    assert len(available(pool)) == left


def test_those_that_are_not_ready_are_not_among_the_floor() -> None:
    pool = pool_of(3, BreakerSettings(minimum_calls=2, floor_share=0.3))
    pool.members[1].condition.report(ReplicaState.UNREACHABLE, "refused")
    pool.members[2].condition.drain(drained=True)
    fail(pool, pool.members[0])
    assert available(pool) == ["a"]


def test_a_replica_that_is_spared_is_said_to_be_once_a_window(log: list[Any]) -> None:
    pool = pool_of(1)
    fail(pool, pool.members[0], times=10)
    assert [entry["event"] for entry in log] == ["replica not ejected, too few would be left"]


def test_when_all_others_are_gone_the_ejected_one_is_tried_at_once() -> None:
    pool = pool_of(2)
    fleet = PooledFleet([pool], [])
    fail(pool, pool.members[0])
    fleet.report(pool.members[1].replica, ReplicaState.UNREACHABLE, "refused")
    assert available(pool) == ["a"]
    assert pool.members[0].replica.breaker == "half_open"


# The way back


def test_it_comes_back_by_trials_and_slowly(log: list[Any]) -> None:
    pool = pool_of(2)
    member, now = pool.members[0], time.monotonic()
    fail(pool, member)
    member.condition.advance(now + 5.1)
    assert (member.replica.state, member.replica.breaker, member.replica.slots) == (ReplicaState.READY, "half_open", 1)
    trial = pool.take(member)
    assert available(pool) == ["b"]
    trial.well()
    trial.release()
    assert (member.replica.breaker, member.replica.slots) == ("recovering", 1)
    assert available(pool) == ["a", "b"]
    member.condition.advance(now + 100)
    assert (member.replica.breaker, member.replica.slots) == ("closed", 4)
    assert member.condition.settled
    events = ["replica ejected", "replica on trial", "replica recovers", "replica recovered"]
    assert [entry["event"] for entry in log] == events


def test_a_trial_that_fails_ejects_it_again(log: list[Any]) -> None:
    pool = pool_of(2)
    member = pool.members[0]
    fail(pool, member)
    member.condition.advance(time.monotonic() + 5.1)
    fail(pool, member, times=1)
    assert member.replica.state is ReplicaState.EJECTED
    assert log[-1]["because"] == "a trial failed"
    assert log[-1]["seconds"] == 10.0


# Several sources


def test_what_probes_find_is_kept_behind_what_else_there_is() -> None:
    pool = pool_of(2)
    fleet, member = PooledFleet([pool], []), pool.members[0]
    fleet.drain(member.replica)
    assert (member.replica.state, member.replica.state_reason) == (ReplicaState.DRAINING, "drained by an operator")
    fleet.report(member.replica, ReplicaState.STARTING, "loading")
    assert (member.replica.state, member.replica.state_reason) == (ReplicaState.STARTING, "loading")
    fleet.report(member.replica, ReplicaState.READY)
    assert member.replica.state is ReplicaState.DRAINING
    fleet.resume(member.replica)
    assert (member.replica.state, member.replica.state_reason) == (ReplicaState.READY, "")


def test_a_drained_replica_takes_no_call_and_keeps_those_it_has() -> None:
    pool = pool_of(2)
    fleet, member = PooledFleet([pool], []), pool.members[0]
    slot = pool.take(member)
    fleet.drain(member.replica)
    assert available(pool) == ["b"]
    assert member.replica.in_flight == 1
    slot.release()
    slot.release()
    assert member.replica.in_flight == 0


def test_a_drain_holds_by_name_for_the_next_configuration() -> None:
    drained: set[str] = set()
    pool = pool_of(2)
    PooledFleet([pool], [], drained).drain(pool.members[0].replica)
    changed = make_pool(make_replica("a", max_concurrent=9), make_replica("b"))
    fleet = PooledFleet([changed], [], drained)
    assert changed.members[0].replica.state is ReplicaState.DRAINING
    fleet.resume(changed.members[0].replica)
    assert available(changed) == ["a", "b"]
    assert drained == set()


# An engine's own Retry-After


@pytest.mark.parametrize(("asked", "held"), [(7.0, 7.0), (1e6, 60.0)])
def test_an_engine_that_asked_for_a_pause_is_not_called_before(asked: float, held: float) -> None:
    pool = pool_of(1)
    (member,) = pool.members
    slot, error = pool.take(member), UpstreamOverloaded("full")
    error.asked_seconds = asked
    now = time.monotonic()
    slot.failed(error)
    slot.release()
    assert (available(pool), member.replica.state) == ([], ReplicaState.READY)
    assert pool.held_seconds() == pytest.approx(held, abs=1)
    assert "have asked not to be called yet" in pool.why_unavailable(Operation.CHAT)
    member.condition.advance(now + held - 0.5)
    assert available(pool) == []
    member.condition.advance(now + held + 0.5)
    assert available(pool) == ["a"]
    assert pool.held_seconds() is None


def test_an_overload_without_the_engine_s_word_holds_nobody() -> None:
    pool = pool_of(1)
    pool.take(pool.members[0]).failed(UpstreamOverloaded("full", retry_after_seconds=1.0))
    assert available(pool) == ["a"]


def test_other_settings_begin_anew_and_equal_ones_do_not() -> None:
    condition = Condition(make_replica("a"), SETTINGS)
    breaker = condition.breaker
    condition.adopt(BreakerSettings(minimum_calls=2, trial_calls=1, open_seconds=5.0))
    assert condition.breaker is breaker
    condition.adopt(BreakerSettings())
    assert condition.breaker is not breaker


async def test_time_is_kept_by_whoever_runs_the_fleet() -> None:
    pool = pool_of(2, BreakerSettings(minimum_calls=2, trial_calls=1, open_seconds=1e-6, slow_start_seconds=0.0))
    fleet, (member, _) = PooledFleet([pool], []), pool.members
    keeping = asyncio.create_task(fleet.keep_time())
    await asyncio.sleep(60)  # nothing to do, and then something
    fail(pool, member)
    changed = asyncio.create_task(fleet.wait_for_change())
    await asyncio.sleep(0)
    assert member.replica.breaker == "open"
    await changed
    assert member.replica.breaker == "half_open"
    serve(pool, member)
    await asyncio.sleep(1)
    assert member.replica.breaker == "closed"
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def test_each_rest_in_a_row_is_twice_as_long_until_it_serves() -> None:
    condition = pool_of(1).members[0].condition
    assert not condition.rests(0.0)
    now, lengths = 100.0, []
    for _ in range(8):
        condition.rest(5.0, now)
        condition.rest(5.0, now + condition.rest_seconds / 2)  # one that was on its way
        assert condition.rests(now + 0.99 * condition.rest_seconds)
        lengths.append(condition.rest_seconds)
        now += condition.rest_seconds
        assert not condition.rests(now)
    assert lengths == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_after_its_rest_it_is_tried_by_one_call_at_a_time() -> None:
    condition = pool_of(1).members[0].condition
    condition.rest(5.0, 0.0)
    condition.try_rested(0.1)
    assert condition.rests(0.15)
    condition.rest(5.0, 0.16)  # the trial, not one that was on its way
    assert condition.rests(0.35)
    assert not condition.rests(0.37)
    condition.try_rested(0.4)
    assert not condition.rests(0.61), "the trial takes longer than that"
    condition.rested()
    assert not condition.rests(0.5)


def test_the_first_rest_after_it_served_is_short_again() -> None:
    pool = pool_of(1)
    condition = pool.members[0].condition
    condition.rest(5.0, 0.0)
    condition.rest(5.0, 1.0)
    serve(pool, pool.members[0])
    condition.rest(5.0, 2.0)
    assert condition.rests(2.09)
    assert not condition.rests(2.11)
