"""An engine that was away and is ready again was started again: it is given calls slowly."""

from __future__ import annotations

import time

import pytest

from gateway import ReplicaState
from gateway.fleet.pool import Member
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.settings import BreakerSettings
from tests.unit.builders import make_pool, make_replica
from tests.unit.gateway.fleet.test_condition import BROKEN, SETTINGS, fail, pool_of


def fleet_of(count: int, settings: BreakerSettings | None = SETTINGS) -> tuple[PooledFleet, list[Member]]:
    pool = pool_of(count, settings)
    return PooledFleet([pool], []), list(pool.members)


AWAY = (ReplicaState.UNREACHABLE, ReplicaState.STARTING, ReplicaState.FAILED)


@pytest.mark.parametrize("away", AWAY)
def test_an_engine_that_was_started_again_is_given_calls_slowly(away: ReplicaState) -> None:
    fleet, members = fleet_of(2)
    replica = members[0].replica
    fleet.report(replica, away, "gone")
    fleet.report(replica, ReplicaState.READY)
    assert (replica.state, replica.breaker, replica.slots) == (ReplicaState.READY, "recovering", 1)
    fleet.advance(time.monotonic() + SETTINGS.slow_start_seconds / 2)
    assert 1 < replica.slots < replica.max_concurrent
    fleet.advance(time.monotonic() + SETTINGS.slow_start_seconds + 1)
    assert (replica.breaker, replica.slots) == ("closed", replica.max_concurrent)


def test_what_its_predecessor_did_is_not_held_against_it() -> None:
    fleet, members = fleet_of(2)
    slot = fleet.pools[0].take(members[0])
    fail(fleet.pools[0], members[0], times=1)
    fleet.report(members[0].replica, ReplicaState.UNREACHABLE, "gone")
    fleet.report(members[0].replica, ReplicaState.READY)
    slot.failed(BROKEN)
    slot.release()
    fail(fleet.pools[0], members[0], times=1)
    assert members[0].replica.breaker == "recovering"
    fail(fleet.pools[0], members[0], times=1)
    assert members[0].replica.breaker == "open"


def test_one_that_was_never_ready_or_only_slept_gets_all_calls_at_once() -> None:
    starting = make_replica("a", state=ReplicaState.STARTING)
    pool = make_pool(starting, make_replica("b"), breaker=SETTINGS)
    fleet = PooledFleet([pool], [])
    fleet.report(starting, ReplicaState.UNREACHABLE, "not yet")
    fleet.report(starting, ReplicaState.READY)
    assert starting.breaker == "closed"
    for state in (ReplicaState.SLEEPING, ReplicaState.PAUSED, ReplicaState.DRAINING):
        fleet.report(starting, state, "it says so")
        fleet.report(starting, ReplicaState.READY)
        assert starting.breaker == "closed"


def test_where_too_few_others_serve_it_gets_all_calls_at_once() -> None:
    fleet, members = fleet_of(2)
    for member in members:
        fleet.report(member.replica, ReplicaState.UNREACHABLE, "gone")
    for member in members:
        fleet.report(member.replica, ReplicaState.READY)
    assert [member.replica.breaker for member in members] == ["closed", "recovering"]
    alone, (only,) = fleet_of(1)
    alone.report(only.replica, ReplicaState.UNREACHABLE, "gone")
    alone.report(only.replica, ReplicaState.READY)
    assert only.replica.breaker == "closed"


def test_one_that_is_out_stays_out_though_its_engine_was_started_again() -> None:
    fleet, members = fleet_of(2)
    fail(fleet.pools[0], members[0])
    fleet.report(members[0].replica, ReplicaState.UNREACHABLE, "gone")
    fleet.report(members[0].replica, ReplicaState.READY)
    assert members[0].replica.breaker == "open"


def test_without_a_breaker_there_is_no_slow_start() -> None:
    fleet, members = fleet_of(2, None)
    fleet.report(members[0].replica, ReplicaState.UNREACHABLE, "gone")
    fleet.report(members[0].replica, ReplicaState.READY)
    assert (members[0].replica.breaker, members[0].replica.slots) == ("closed", members[0].replica.max_concurrent)
