from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from gateway import LaunchedReplica, LaunchPlan, Probe, Replica, ReplicaLoad, ReplicaState
from gateway.fleet import health
from gateway.fleet.health import HealthMonitor
from gateway.fleet.pool import Pool
from gateway.fleet.pooled_fleet import PooledFleet
from tests.unit.builders import MODEL, make_member, make_replica, until
from tests.unit.fakes import FakeBackend

READY = Probe(ReplicaState.READY)
DOWN = Probe(ReplicaState.UNREACHABLE, "refused")
LOADING = Probe(ReplicaState.STARTING, "loading")

Begin = Callable[..., "Watched"]


class Watched:
    """One replica, its scripted engine, and the monitor at work."""

    def __init__(self, backend: FakeBackend, *, state: ReplicaState, launched: bool) -> None:
        self.backend = backend
        self.replica: Replica = make_replica(state=state, state_reason="" if state is ReplicaState.READY else "before")
        plan = LaunchPlan(("engine",), {}, self.replica.url)
        self.fleet = PooledFleet(
            [Pool(MODEL, [make_member(self.replica, backend)], 1)],
            [LaunchedReplica(self.replica, plan)] if launched else [],
        )
        client: Any = httpx.AsyncClient
        self.task = asyncio.create_task(HealthMonitor(self.fleet, client).run())
        self.started = asyncio.get_running_loop().time()

    @property
    def seconds(self) -> float:
        return asyncio.get_running_loop().time() - self.started

    async def probes(self, count: int) -> ReplicaState:
        """Let the monitor look so many times; the state then."""
        await self.backend.wait_for_probes(count)
        for _ in range(5):  # until the monitor has made up its mind
            await asyncio.sleep(0)
        return self.replica.state


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    all_watched: list[Watched] = []

    def start(
        *probes: Any,
        state: ReplicaState = ReplicaState.STARTING,
        launched: bool = False,
        backend: FakeBackend | None = None,
    ) -> Watched:
        all_watched.append(Watched(backend or FakeBackend(probes=probes), state=state, launched=launched))
        return all_watched[-1]

    yield start
    for watched in all_watched:
        watched.task.cancel()
    await asyncio.gather(*(watched.task for watched in all_watched), return_exceptions=True)


async def test_a_replica_is_ready_once_it_says_so(begin: Begin) -> None:
    watched = begin(LOADING, READY)
    assert await watched.probes(1) is ReplicaState.STARTING
    assert watched.replica.state_reason == "loading"
    assert await watched.probes(2) is ReplicaState.READY
    assert watched.replica.state_reason == ""


async def test_what_is_not_ready_is_looked_at_often_and_what_is_ready_seldom(begin: Begin) -> None:
    waiting, ready = begin(LOADING), begin(READY)
    await waiting.probes(5)
    assert waiting.seconds == pytest.approx(4 * health.NOT_READY_INTERVAL_SECONDS, abs=0.2)
    await ready.probes(3)
    assert ready.seconds == pytest.approx(2 * health.READY_INTERVAL_SECONDS, abs=0.2)


async def test_the_load_is_kept_from_each_good_look(begin: Begin) -> None:
    watched = begin(Probe(ReplicaState.READY, load=ReplicaLoad(3, 1)), READY)
    await watched.probes(1)
    assert watched.replica.load == ReplicaLoad(3, 1)
    await watched.probes(2)
    assert watched.replica.load is None


async def test_one_late_answer_does_not_drop_a_replica(begin: Begin) -> None:
    watched = begin(READY, DOWN, DOWN, READY, DOWN, DOWN, READY)
    for count in range(1, 8):
        assert await watched.probes(count) is ReplicaState.READY


async def test_three_in_a_row_do(begin: Begin) -> None:
    watched = begin(READY, DOWN, DOWN, DOWN, READY)
    assert await watched.probes(3) is ReplicaState.READY
    assert await watched.probes(4) is ReplicaState.UNREACHABLE
    assert watched.replica.state_reason == "refused"
    assert await watched.probes(5) is ReplicaState.READY


@pytest.mark.parametrize(
    "state", [ReplicaState.PAUSED, ReplicaState.SLEEPING, ReplicaState.DRAINING, ReplicaState.STARTING]
)
async def test_what_an_engine_says_of_itself_holds_at_once(begin: Begin, state: ReplicaState) -> None:
    watched = begin(READY, Probe(state, "it says so"), READY)
    assert await watched.probes(2) is state
    assert watched.replica.state_reason == "it says so"
    assert await watched.probes(3) is ReplicaState.READY


async def test_a_replica_that_never_was_ready_is_dropped_at_once(begin: Begin) -> None:
    assert await begin(DOWN).probes(1) is ReplicaState.UNREACHABLE


async def test_of_a_launched_replica_that_starts_its_supervisor_knows_better(begin: Begin) -> None:
    watched = begin(DOWN, LOADING, READY, launched=True)
    assert await watched.probes(2) is ReplicaState.STARTING
    assert watched.replica.state_reason == "before"
    assert await watched.probes(3) is ReplicaState.READY


async def test_a_launched_replica_without_an_engine_is_not_looked_at_until_it_has_one(begin: Begin) -> None:
    watched = begin(READY, state=ReplicaState.FAILED, launched=True)
    await asyncio.sleep(100)
    assert watched.backend.probed == []
    watched.fleet.report(watched.replica, ReplicaState.STARTING, "the engine is loading")
    assert await watched.probes(1) is ReplicaState.READY


async def test_a_look_that_was_under_way_when_the_engine_ended_is_worth_nothing(begin: Begin) -> None:
    class Late(FakeBackend):
        def __init__(self) -> None:
            super().__init__()
            self.answers = asyncio.Event()

        async def probe(self, client: Any, replica: Replica) -> Probe:
            await super().probe(client, replica)
            await self.answers.wait()
            return READY

    backend = Late()
    watched = begin(backend=backend, launched=True)
    await watched.probes(1)
    watched.fleet.report(watched.replica, ReplicaState.FAILED, "its port is taken")
    backend.answers.set()
    await asyncio.sleep(100)
    assert watched.replica.state is ReplicaState.FAILED
    assert watched.replica.state_reason == "its port is taken"


async def test_one_that_failed_and_is_not_ours_to_start_is_looked_at(begin: Begin) -> None:
    assert await begin(READY, state=ReplicaState.FAILED).probes(1) is ReplicaState.READY


async def test_a_launched_replica_that_was_ready_can_be_lost_like_any_other(begin: Begin) -> None:
    watched = begin(READY, DOWN, DOWN, DOWN, launched=True)
    assert await watched.probes(4) is ReplicaState.UNREACHABLE


async def test_a_probe_that_does_not_end_counts_as_a_failure(begin: Begin) -> None:
    class Hangs(FakeBackend):
        async def probe(self, client: Any, replica: Replica) -> Probe:
            await super().probe(client, replica)
            await asyncio.Event().wait()
            raise AssertionError

    watched = begin(backend=Hangs())
    await watched.probes(2)
    assert watched.replica.state is ReplicaState.UNREACHABLE
    assert watched.replica.state_reason == "no answer to the probe in 5 s"
    assert watched.seconds >= health.PROBE_SECONDS


async def test_a_probe_that_crashes_counts_as_a_failure_and_the_watch_goes_on(begin: Begin) -> None:
    watched = begin(ValueError("inside"), READY)
    assert await watched.probes(1) is ReplicaState.UNREACHABLE
    assert watched.replica.state_reason == "the probe crashed with ValueError"
    assert await watched.probes(2) is ReplicaState.READY


async def test_a_replica_that_the_call_s_way_found_dead_is_looked_at_at_once(begin: Begin) -> None:
    watched = begin(READY)
    await watched.probes(1)
    before = watched.seconds
    watched.fleet.report(watched.replica, ReplicaState.UNREACHABLE, "the last call could not connect")
    await until(lambda: watched.replica.state is ReplicaState.READY)
    assert watched.seconds - before < 0.1
    assert len(watched.backend.probed) == 2


async def test_news_of_another_replica_does_not_hurry_the_look(begin: Begin) -> None:
    watched = begin(READY)
    await watched.probes(1)
    watched.fleet.changed()
    watched.fleet.changed()
    await asyncio.sleep(health.READY_INTERVAL_SECONDS / 2)
    assert len(watched.backend.probed) == 1
    await watched.probes(2)
    assert watched.seconds == pytest.approx(health.READY_INTERVAL_SECONDS, abs=0.2)


async def test_every_replica_has_its_own_watch(begin: Begin) -> None:
    slow, quick = FakeBackend(probes=[LOADING]), FakeBackend(probes=[READY])
    members = [make_member(make_replica(name, state=ReplicaState.STARTING)) for name in "ab"]
    members[0], members[1] = make_member(members[0].replica, slow), make_member(members[1].replica, quick)
    client: Any = httpx.AsyncClient
    task = asyncio.create_task(HealthMonitor(PooledFleet([Pool(MODEL, members, 1)], []), client).run())
    await until(lambda: members[1].replica.state is ReplicaState.READY)
    assert members[0].replica.state is ReplicaState.STARTING
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
