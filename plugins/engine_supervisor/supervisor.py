"""Ties engine processes to the replicas of the current runtime; the processes themselves outlive a reload."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway import BuildContext, Fleet, LaunchedReplica, LaunchPlan, Replica, ReplicaState, Service
from plugins.engine_supervisor.process import EngineProcess, EngineStatus


class SupervisorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How engines are run.

    Attributes:
        log_folder: each engine's output goes to a file here, relative to the working directory.
        stop_seconds: how long an engine may take to stop before it is killed.
    """

    log_folder: Path = msgspec.field(default_factory=lambda: Path(".moegate/logs"))
    stop_seconds: Annotated[float, Meta(gt=0, le=600)] = 15.0


class EngineSupervisor:
    """The service."""

    def __init__(self, fleet: Fleet, engines: list[tuple[Replica, EngineProcess]]) -> None:
        self._fleet = fleet
        self._engines = engines

    async def run(self) -> None:
        """Start what does not run yet, and tell the fleet how each engine fares."""
        async with asyncio.TaskGroup() as tasks:
            for replica, engine in self._engines:
                engine.start()
                tasks.create_task(self._follow(replica, engine))

    async def _follow(self, replica: Replica, engine: EngineProcess) -> None:
        while True:
            status = engine.status
            if status is EngineStatus.DOWN:
                self._fleet.report(replica, ReplicaState.FAILED, engine.reason)
            elif replica.state is not ReplicaState.READY:
                self._fleet.report(replica, ReplicaState.STARTING, engine.reason)
            await engine.wait_for_change()


def build(settings: SupervisorSettings, context: BuildContext) -> Service:
    """Find or make the process of every launched replica; none is started yet."""
    return EngineSupervisor(
        context.fleet, [(item.replica, _engine(item, settings, context)) for item in context.fleet.launched()]
    )


def _engine(item: LaunchedReplica, settings: SupervisorSettings, context: BuildContext) -> EngineProcess:
    name = item.replica.name
    return context.shared(
        ("engine", name, _digest(item.plan)),
        lambda: EngineProcess(name, item.plan, settings.log_folder, settings.stop_seconds),
    )


def _digest(plan: LaunchPlan) -> str:
    return hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()
