from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import LaunchedReplica, LaunchPlan, Operation, Replica, ReplicaState
from gateway.errors import UpstreamOverloaded
from gateway.fleet.pool import Pool
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.fleet.retries import Retries
from gateway.settings import RetrySettings
from tests.unit.builders import make_pool, make_replica

ONLY_CHAT = frozenset({Operation.CHAT})


def test_available_keeps_the_order_of_the_configuration() -> None:
    pool = make_pool(make_replica("b"), make_replica("a"), make_replica("c"))
    assert [replica.name for replica in pool.available(Operation.CHAT)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("changes", "available"),
    [
        ({}, True),
        ({"state": ReplicaState.STARTING}, False),
        ({"state": ReplicaState.UNREACHABLE}, False),
        ({"state": ReplicaState.FAILED}, False),
        ({"in_flight": 3}, True),
        ({"in_flight": 4}, False),
        ({"in_flight": 5}, False),
        ({"operations": ONLY_CHAT}, False),
    ],
)
def test_a_replica_is_available_when_it_is_ready_able_and_has_a_slot(changes: dict[str, Any], available: bool) -> None:
    pool = make_pool(make_replica(**changes))
    assert bool(pool.available(Operation.COMPLETIONS)) is available


def test_a_pool_can_do_what_any_of_its_replicas_can() -> None:
    assert make_pool(make_replica("a", operations=ONLY_CHAT), make_replica("b")).operations == frozenset(Operation)
    assert make_pool(make_replica("a", operations=ONLY_CHAT)).operations == ONLY_CHAT


def test_a_member_is_found_by_the_replica_itself_not_by_its_name() -> None:
    replica = make_replica("a")
    pool = make_pool(replica)
    assert pool.member(replica) is pool.members[0]
    assert pool.member(make_replica("a")) is None


def test_why_there_is_none() -> None:
    starting = make_pool(make_replica("a", state=ReplicaState.STARTING), make_replica("b", state=ReplicaState.FAILED))
    assert starting.why_unavailable(Operation.CHAT) == "no replica of kimi-k2 is ready: a is starting; b is failed"
    full = make_pool(make_replica("a", in_flight=4), make_replica("b", state=ReplicaState.STARTING))
    assert full.why_unavailable(Operation.CHAT) == (
        "all replicas of kimi-k2 that can serve chat are at their max_concurrent"
    )


def test_why_there_is_none_names_only_those_that_could_do_it() -> None:
    pool = make_pool(make_replica("a", operations=ONLY_CHAT), make_replica("b", state=ReplicaState.FAILED))
    assert pool.why_unavailable(Operation.COMPLETIONS) == "no replica of kimi-k2 is ready: b is failed"


def test_the_reasons_of_a_pool_that_is_not_ready() -> None:
    down = make_replica("a", state=ReplicaState.UNREACHABLE, state_reason="refused")
    starting = make_replica("b", state=ReplicaState.STARTING)
    assert make_pool(down, starting).not_ready_reasons() == ["a: unreachable (refused)", "b: starting"]
    assert make_pool(down, make_replica("c")).not_ready_reasons() is None


def fleet_of(*names: str, state: ReplicaState = ReplicaState.STARTING) -> PooledFleet:
    return PooledFleet([make_pool(*(make_replica(name, state=state) for name in names))], [])


def test_a_fleet_lists_every_replica_of_every_pool() -> None:
    one, two, three = make_replica("a"), make_replica("b"), make_replica("c")
    launched = LaunchedReplica(two, LaunchPlan(("engine",), {}, "http://127.0.0.1:1"))
    fleet = PooledFleet([make_pool(one, two), make_pool(three)], [launched])
    assert fleet.replicas() == [one, two, three]
    assert [member.replica for member in fleet.members()] == [one, two, three]
    assert list(fleet.launched()) == [launched]


async def test_a_report_sets_state_and_reason_and_the_time_of_the_change() -> None:
    fleet = fleet_of("a")
    (replica,) = fleet.replicas()
    fleet.report(replica, ReplicaState.UNREACHABLE, "refused")
    assert (replica.state, replica.state_reason) == (ReplicaState.UNREACHABLE, "refused")
    changed = replica.changed_at
    assert changed > 0
    fleet.report(replica, ReplicaState.UNREACHABLE, "still refused")
    assert (replica.state_reason, replica.changed_at) == ("still refused", changed)
    fleet.report(replica, ReplicaState.READY)
    assert replica.state_reason == ""


async def test_a_change_wakes_all_who_wait_and_a_repetition_nobody() -> None:
    fleet = fleet_of("a")
    (replica,) = fleet.replicas()
    waiting = [asyncio.create_task(fleet.wait_for_change()) for _ in range(2)]
    await asyncio.sleep(0)
    fleet.report(replica, ReplicaState.STARTING, "another word for it")
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    fleet.report(replica, ReplicaState.READY)
    await asyncio.gather(*waiting)


async def test_a_change_that_is_past_wakes_nobody() -> None:
    fleet = fleet_of("a")
    fleet.report(fleet.replicas()[0], ReplicaState.READY)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await fleet.wait_for_change()


def test_models_that_are_not_ready() -> None:
    fleet = fleet_of("a", "b")
    assert fleet.not_ready() == {"kimi-k2": ["a: starting", "b: starting"]}
    fleet.report(fleet.replicas()[1], ReplicaState.READY)
    assert fleet.not_ready() == {}


def overloaded(pool: Pool, name: str, *, asked: float | None = None) -> None:
    """One call there is told that its engine is overloaded."""
    member = next(each for each in pool.members if each.replica.name == name)
    error = UpstreamOverloaded("status 503: queue full")
    error.asked_seconds = asked
    slot = pool.take(member)
    slot.failed(error)
    slot.release()


def names(pool: Pool) -> list[str]:
    return [replica.name for replica in pool.available(Operation.CHAT)]


def patient_pool(*replicas: Replica) -> Pool:
    """A pool whose replicas rest long enough for any machine."""
    pool = make_pool(*replicas)
    pool.retries = Retries(RetrySettings(longest_rest_seconds=3_600))
    for member in pool.members:
        member.condition.rest_seconds = 1_800.0
    return pool


def test_a_replica_that_is_overloaded_is_passed_over_while_others_can_be_called() -> None:
    first, second = make_replica("a"), make_replica("b")
    pool = patient_pool(first, second)
    overloaded(pool, "a")
    assert names(pool) == ["b"]
    assert pool.resting() == {"a"}
    second.in_flight = second.slots
    assert names(pool) == ["a"], "better asked than refused"
    second.in_flight = 0
    overloaded(pool, "b")
    assert names(pool) == ["a", "b"], "all are"


def test_an_overload_that_says_for_how_long_is_a_hold_and_no_rest() -> None:
    pool = make_pool(make_replica("a"), make_replica("b"))
    overloaded(pool, "a", asked=30.0)
    assert pool.resting() == set()
    assert names(pool) == ["b"]


def test_nothing_rests_where_the_settings_say_so() -> None:
    pool = make_pool(make_replica("a"), make_replica("b"))
    pool.retries = Retries(RetrySettings(longest_rest_seconds=0))
    overloaded(pool, "a")
    assert names(pool) == ["a", "b"]
