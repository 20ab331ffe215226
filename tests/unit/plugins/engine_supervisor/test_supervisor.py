from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway import LaunchedReplica, LaunchPlan, Replica, ReplicaState, Service
from gateway.shared import SharedObjects
from plugins.engine_supervisor import process
from plugins.engine_supervisor.supervisor import SupervisorSettings, build
from tests.unit.builders import make_replica
from tests.unit.plugins.engine_supervisor import engines
from tests.unit.plugins.engine_supervisor.engines import Switchboard


class Fleet:
    """Notes what is reported."""

    def __init__(self, *launched: LaunchedReplica) -> None:
        self._launched = launched
        self.reports: asyncio.Queue[tuple[str, ReplicaState, str]] = asyncio.Queue()

    def replicas(self) -> Sequence[Replica]:
        return [item.replica for item in self._launched]

    def launched(self) -> Sequence[LaunchedReplica]:
        return self._launched

    def report(self, replica: Replica, state: ReplicaState, reason: str = "") -> None:
        replica.state = state
        self.reports.put_nowait((replica.name, state, reason))

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

    def begin(self, *plans: LaunchPlan, state: ReplicaState = ReplicaState.STARTING) -> Fleet:
        launched = [LaunchedReplica(make_replica(f"r{n}", state=state), plan) for n, plan in enumerate(plans)]
        fleet = Fleet(*launched)
        self.contexts.append(Context(fleet, self.shared))
        settings = SupervisorSettings(log_folder=self.folder, stop_seconds=engines.PATIENCE_SECONDS)
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


async def test_an_engine_that_is_launched_otherwise_is_another(scene: Scene, board: Switchboard) -> None:
    scene.begin(board.plan(engines.OBEYS))
    old = await board.life()
    scene.begin(board.plan(engines.OBEYS, THREADS="2"))
    new = await board.life()
    assert new.pid != old.pid
    await scene.end(0)
    assert await old.end() == "stops in order\n"
    os.kill(new.pid, 0)


async def test_without_launched_replicas_there_is_nothing_to_do(scene: Scene, board: Switchboard) -> None:
    scene.begin()
    await asyncio.gather(*scene.tasks)
    assert board.quiet


GATEWAY = """
import asyncio, pathlib, sys
from gateway import LaunchPlan
from plugins.engine_supervisor.process import EngineProcess

async def main():
    EngineProcess("ref", LaunchPlan(tuple(sys.argv[2:]), {}, "http://x"), pathlib.Path(sys.argv[1]), 5.0).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_gateway_that_is_killed_outright_leaves_no_engine_behind(board: Switchboard, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", GATEWAY, str(tmp_path), *board.plan(engines.WAITS).argv]
    nowhere = asyncio.subprocess.DEVNULL
    gateway = await asyncio.create_subprocess_exec(*argv, cwd=tmp_path, stderr=nowhere, stdout=nowhere)
    try:
        life = await board.life()
    finally:
        gateway.kill()
        await gateway.wait()
    await life.end()
