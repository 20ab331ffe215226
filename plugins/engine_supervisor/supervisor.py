"""Ties engine processes to the replicas of the current runtime; the processes themselves outlive a reload."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway import BuildContext, Fleet, LaunchedReplica, ReplicaState, Service
from gateway.contracts.backend import RUNNING_STATES
from gateway.errors import ConfigError
from plugins.engine_supervisor.keeping import EngineFiles
from plugins.engine_supervisor.ports import Turn, place_of
from plugins.engine_supervisor.process import EngineProcess, EngineStatus
from plugins.engine_supervisor.records import Records, digest_of


class SupervisorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How engines are run. Folders are relative to the working directory.

    Attributes:
        log_folder: each engine's output goes to files here.
        log_bytes: how long such a file may grow; the one before it is kept as well.
        state_folder: what commands and gateways know of each other's engines.
        stop_seconds: how long an engine may take to stop before it is killed.
    """

    log_folder: Path = msgspec.field(default_factory=lambda: Path(".moegate/logs"))
    log_bytes: Annotated[int, Meta(ge=65_536)] = 16 * 1024 * 1024
    state_folder: Path = msgspec.field(default_factory=lambda: Path(".moegate/engines"))
    stop_seconds: Annotated[float, Meta(gt=0, le=600)] = 15.0


class EngineSupervisor:
    """The service; commands ask it where things are.

    Attributes:
        files: where engines' logs and records are.
    """

    def __init__(self, fleet: Fleet, files: EngineFiles, engines: list[tuple[LaunchedReplica, EngineProcess]]) -> None:
        self.files = files
        self._fleet = fleet
        self._engines = engines

    async def run(self) -> None:
        """Start what does not run yet, and tell the fleet how each engine fares."""
        async with asyncio.TaskGroup() as tasks:
            for item, engine in self._engines:
                engine.start()
                tasks.create_task(self._follow(item, engine))
                tasks.create_task(self._expect(item, engine))

    async def _follow(self, item: LaunchedReplica, engine: EngineProcess) -> None:
        """Report each change of the process; whether it serves is found out by probes."""
        while True:
            if engine.status is EngineStatus.DOWN:
                self._fleet.report(item.replica, ReplicaState.FAILED, engine.reason)
            elif item.replica.state not in RUNNING_STATES:
                self._fleet.report(item.replica, ReplicaState.STARTING, engine.reason)
            await engine.wait_for_change()

    async def _expect(self, item: LaunchedReplica, engine: EngineProcess) -> None:
        """Give up on an engine that does not get ready in its time. One that was ready once is the probes' business."""
        while True:
            since = engine.loading_since
            if since is None:
                await engine.wait_for_change()
            elif item.replica.state in RUNNING_STATES:
                engine.loading_since = None
            else:
                try:
                    async with asyncio.timeout(max(0.0, since + item.ready_seconds - time.monotonic())):
                        await self._fleet.wait_for_change()
                except TimeoutError:
                    if engine.loading_since == since:
                        engine.give_up(item.ready_seconds)


def build(settings: SupervisorSettings, context: BuildContext) -> Service:
    """Find or make the process of every launched replica; none is started yet.

    Raises:
        ConfigError: two engines are to listen on one port.
    """
    files = EngineFiles(settings.log_folder, Records(settings.state_folder), settings.log_bytes, settings.stop_seconds)
    launched = context.fleet.launched()
    _check_ports(launched)
    return EngineSupervisor(context.fleet, files, [(item, _engine(item, files, context)) for item in launched])


def _check_ports(launched: Sequence[LaunchedReplica]) -> None:
    seen: dict[str, str] = {}
    for item in launched:
        port = place_of(item.plan.url)
        if port in seen:
            raise ConfigError(f"the replicas {seen[port]!r} and {item.replica.name!r} are launched on one port, {port}")
        seen[port] = item.replica.name


def _engine(item: LaunchedReplica, files: EngineFiles, context: BuildContext) -> EngineProcess:
    name, plan = item.replica.name, item.plan
    turn = context.shared(("engine port", place_of(plan.url)), Turn)
    return context.shared(("engine", name, digest_of(plan)), lambda: EngineProcess(name, plan, files, turn))
