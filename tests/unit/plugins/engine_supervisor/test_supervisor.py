from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway import LaunchedReplica, LaunchPlan, Replica, ReplicaState, Service, SourceState
from gateway.errors import ConfigError
from gateway.shared import SharedObjects
from plugins.engine_supervisor import keeping, process
from plugins.engine_supervisor.keeping import EngineFiles
from plugins.engine_supervisor.records import Records, State
from plugins.engine_supervisor.stopping import stop_recorded
from plugins.engine_supervisor.supervisor import SupervisorSettings, build
from tests.unit.builders import make_replica
from tests.unit.plugins.engine_supervisor import engines
from tests.unit.plugins.engine_supervisor.engines import Switchboard


class Fleet:
    """Notes what is reported."""

    def __init__(self, *launched: LaunchedReplica) -> None:
        self._launched = launched
        self.reports: asyncio.Queue[tuple[str, ReplicaState, str]] = asyncio.Queue()
        self.changed = asyncio.Event()

    def replicas(self) -> Sequence[Replica]:
        return [item.replica for item in self._launched]

    def target_sources(self) -> Sequence[SourceState]:
        return ()

    def launched(self) -> Sequence[LaunchedReplica]:
        return self._launched

    def report(self, replica: Replica, state: ReplicaState, reason: str = "") -> None:
        if replica.state is not state:
            changed, self.changed = self.changed, asyncio.Event()
            changed.set()
        replica.state = state
        self.reports.put_nowait((replica.name, state, reason))

    async def wait_for_change(self) -> None:
        await self.changed.wait()

    async def next(self) -> tuple[str, ReplicaState, str]:
        async with asyncio.timeout(engines.PATIENCE_SECONDS):
            return await self.reports.get()


class Context:
    """What a plugin is built with, as far as this one looks."""

    def __init__(self, fleet: Fleet, shared: SharedObjects) -> None:
        self.fleet, self.models = fleet, ()
        self.held: list[tuple[str, ...]] = []
        self._shared = shared

    def shared(self, key: tuple[str, ...], create: Callable[[], Any]) -> Any:
        self.held.append(key)
        return self._shared.hold(key, create)

    async def release(self) -> None:
        while self.held:
            await self._shared.release(self.held.pop())


class Scene:
    """Supervisors as runtimes start and end them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared = SharedObjects()
        self.contexts: list[Context] = []
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def files(self) -> EngineFiles:
        return EngineFiles(self.folder, Records(self.folder / "state"), 65_536, engines.PATIENCE_SECONDS)

    def begin(
        self, *plans: LaunchPlan, state: ReplicaState = ReplicaState.STARTING, ready_seconds: float = 900.0
    ) -> Fleet:
        launched = [
            LaunchedReplica(make_replica(f"r{n}", state=state), plan, ready_seconds) for n, plan in enumerate(plans)
        ]
        fleet = Fleet(*launched)
        self.contexts.append(Context(fleet, self.shared))
        settings = SupervisorSettings(
            log_folder=self.folder, state_folder=self.folder / "state", stop_seconds=engines.PATIENCE_SECONDS
        )
        service: Service = build(settings, self.contexts[-1])
        self.tasks.append(asyncio.create_task(service.run()))
        return fleet

    async def end(self, number: int) -> None:
        self.tasks[number].cancel()
        await asyncio.gather(self.tasks[number], return_exceptions=True)
        await self.contexts[number].release()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    for number in range(len(scene.tasks)):
        await scene.end(number)


async def test_every_launched_replica_has_its_engine(scene: Scene, board: Switchboard) -> None:
    scene.begin(board.plan(engines.WAITS), board.plan("report('other'); wait()"))
    assert {(await board.life()).word, (await board.life()).word} == {"lives", "other"}


async def test_the_fleet_learns_how_an_engine_fares(
    scene: Scene, board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FIRST_PAUSE_SECONDS", 3_600.0)
    fleet = scene.begin(board.plan(engines.EXITS))
    assert await fleet.next() == ("r0", ReplicaState.STARTING, "starting")
    while (report := await fleet.next())[1] is ReplicaState.STARTING:
        assert report[2] == "the engine is loading"
    assert report == ("r0", ReplicaState.FAILED, "the engine exited with status 3; it is started again in 3600 s")


async def test_a_ready_replica_is_failed_when_its_engine_ends(scene: Scene, board: Switchboard) -> None:
    fleet = scene.begin(board.plan(engines.WAITS), state=ReplicaState.READY)
    life = await board.life()
    assert fleet.reports.empty()
    os.kill(life.pid, signal.SIGKILL)
    assert (await fleet.next())[1] is ReplicaState.FAILED
    assert (await fleet.next())[1] is ReplicaState.STARTING


async def test_an_engine_outlives_a_reload_that_does_not_change_it(scene: Scene, board: Switchboard) -> None:
    plan = board.plan(engines.OBEYS)
    scene.begin(plan)
    life = await board.life()
    scene.begin(plan)
    await scene.end(0)
    assert board.quiet
    os.kill(life.pid, 0)
    await scene.end(1)
    assert await life.end() == "stops in order\n"


async def test_an_engine_that_is_launched_elsewhere_is_another_and_does_not_wait(
    scene: Scene, board: Switchboard
) -> None:
    scene.begin(board.plan(engines.OBEYS))
    old = await board.life()
    scene.begin(board.plan(engines.OBEYS))
    new = await board.life()
    assert new.pid != old.pid
    await scene.end(0)
    assert await old.end() == "stops in order\n"
    os.kill(new.pid, 0)


async def test_one_that_is_launched_otherwise_on_the_same_port_waits_for_the_old_to_end(
    scene: Scene, board: Switchboard
) -> None:
    plan = board.plan(engines.OBEYS)
    scene.begin(plan)
    old = await board.life()
    fleet = scene.begin(LaunchPlan(plan.argv, {"THREADS": "2"}, plan.url))
    while (report := await fleet.next())[1] is ReplicaState.STARTING:
        pass
    assert report == ("r0", ReplicaState.FAILED, "the engine waits until the one before it has ended")
    assert board.quiet
    ending = asyncio.create_task(scene.end(0))
    assert await old.end() == "stops in order\n"
    assert (await board.life()).pid != old.pid
    await ending
    assert (await fleet.next())[1:] == (ReplicaState.STARTING, "the engine is loading")


def test_two_engines_on_one_port_are_a_fault_of_the_configuration() -> None:
    plan = LaunchPlan(("engine",), {}, "http://127.0.0.1:8031")
    fleet = Fleet(*(LaunchedReplica(make_replica(name), plan) for name in ("a", "b")))
    with pytest.raises(ConfigError, match="the replicas 'a' and 'b' are launched on one port, 8031"):
        build(SupervisorSettings(), Context(fleet, SharedObjects()))


# Getting ready


async def test_an_engine_that_never_gets_ready_is_stopped_and_started_again(scene: Scene, board: Switchboard) -> None:
    with structlog.testing.capture_logs() as logs:
        fleet = scene.begin(board.plan(engines.OBEYS_IN_SILENCE), ready_seconds=0.3)
        life = await board.life()
        assert await life.end() == "stops in order\n"
        while (report := await fleet.next())[1] is ReplicaState.STARTING:
            pass
        assert report[2] == "the engine did not get ready within 0.3 s; it is started again in 0.01 s"
        assert (await board.life()).pid != life.pid
    (line, *_) = engines.lines(logs, "engine ended")
    assert (line["engine"], line["how"], line["tail"]) == ("r0", "did not get ready within 0.3 s", "still loading\n")


async def test_its_restarts_are_ever_slower_though_it_ran_long(
    scene: Scene, board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "WELL_SECONDS", 0.0)
    fleet = scene.begin(board.plan(engines.WAITS), ready_seconds=0.05)
    reasons = []
    while len(reasons) < 3:
        if (report := await fleet.next())[1] is ReplicaState.FAILED:
            reasons.append(report[2].rpartition(" in ")[2])
    assert reasons == ["0.01 s", "0.02 s", "0.04 s"]


async def test_one_that_was_ready_in_time_is_left_alone(scene: Scene, board: Switchboard) -> None:
    """What was ready once and does not answer now is busy, for all we know: it has calls in flight."""
    # The second engine's time is up later than the first one's would be, had it not been ready.
    fleet = scene.begin(board.plan(engines.WAITS), board.plan(engines.OBEYS_IN_SILENCE), ready_seconds=2.0)
    lives = [await board.life(), await board.life()]
    first, second = sorted(lives, key=lambda life: life.word)
    busy = fleet.replicas()[0]
    fleet.report(busy, ReplicaState.READY)
    await asyncio.sleep(0)
    fleet.report(busy, ReplicaState.UNREACHABLE, "no answer")
    assert await second.end() == "stops in order\n"
    os.kill(first.pid, 0)


async def test_an_engine_that_is_not_ours_is_given_its_time(scene: Scene, board: Switchboard) -> None:
    plan = board.plan(engines.OBEYS)
    record = await asyncio.to_thread(keeping.start_detached, "r0", plan, scene.files)
    try:
        life = await board.life()
        with structlog.testing.capture_logs() as logs:
            fleet = scene.begin(plan, ready_seconds=0.1)
            while "did not get ready" not in (report := await fleet.next())[2]:
                pass
        assert report[1:] == (ReplicaState.STARTING, "the engine did not get ready within 0.1 s, and still loads")
        assert engines.lines(logs, "engine does not get ready")[0]["engine"] == "r0"
        assert record.engine.alive
        assert board.quiet
    finally:
        await stop_recorded(record, engines.PATIENCE_SECONDS)
    assert await life.end() == "stops in order\n"


async def test_without_launched_replicas_there_is_nothing_to_do(scene: Scene, board: Switchboard) -> None:
    scene.begin()
    await asyncio.gather(*scene.tasks)
    assert board.quiet


GATEWAY = """
import asyncio, pathlib, sys
from gateway import LaunchPlan
from plugins.engine_supervisor.keeping import EngineFiles
from plugins.engine_supervisor.ports import Turn
from plugins.engine_supervisor.process import EngineProcess
from plugins.engine_supervisor.records import Records

async def main():
    folder = pathlib.Path(sys.argv[1])
    files = EngineFiles(folder, Records(folder / "state"), 65_536, 0.1)
    EngineProcess("ref", LaunchPlan(tuple(sys.argv[3:]), {}, sys.argv[2]), files, Turn()).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_gateway_that_is_killed_outright_leaves_no_engine_behind(board: Switchboard, tmp_path: Path) -> None:
    plan = board.plan(engines.PARENT)  # with a worker that does not heed SIGTERM
    argv = [sys.executable, "-c", GATEWAY, str(tmp_path), plan.url, *plan.argv]
    nowhere = asyncio.subprocess.DEVNULL
    gateway = await asyncio.create_subprocess_exec(*argv, cwd=tmp_path, stderr=nowhere, stdout=nowhere)
    try:
        worker, parent = await board.life(), await board.life()
    finally:
        gateway.kill()
        await gateway.wait()
    await parent.end()
    await worker.end()
    assert (await board.recorded(plan, State.STOPPED)).engine.pid == parent.pid
