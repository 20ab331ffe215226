"""Looks at every replica at intervals and reports its state; never on a call's way, and never starts or stops an engine."""

from __future__ import annotations

import asyncio

import httpx
import structlog

from gateway.contracts.backend import Probe, ReplicaState
from gateway.fleet.pool import Member
from gateway.fleet.pooled_fleet import PooledFleet

log = structlog.get_logger("moegate.health")

READY_INTERVAL_SECONDS = 5.0
NOT_READY_INTERVAL_SECONDS = 0.5
PROBE_SECONDS = 5.0
# An engine under full load may answer its health check late; one late answer must not take it out.
FAILURES_TO_DROP = 3
# What an engine says of itself, and says once: no failed look. One that starts again ended since the last look.
_SAID = frozenset({ReplicaState.DRAINING, ReplicaState.PAUSED, ReplicaState.SLEEPING, ReplicaState.STARTING})


class HealthMonitor:
    """One probing loop per replica.

    `launched` are the replicas that the gateway starts itself: for those, a refused connection while they start is the
    normal course of things and not a finding. While one is FAILED, its supervisor knows that its engine does not run:
    it is not looked at, for whatever answered there would be a stranger, or an engine that is on its way out.
    """

    def __init__(self, fleet: PooledFleet, client: httpx.AsyncClient) -> None:
        self._fleet = fleet
        self._client = client
        self._launched = {id(item.replica) for item in fleet.launched()}

    async def run(self) -> None:
        """Probe until cancelled, and keep the time of breakers."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fleet.keep_time())
            for member in self._fleet.members():
                tasks.create_task(self._watch(member))

    async def _watch(self, member: Member) -> None:
        failures = 0
        while True:
            while self._has_no_engine(member):
                await self._fleet.wait_for_change()
            found = await self.look(member)
            failures = 0 if found.state is ReplicaState.READY else failures + 1
            self._apply(member, found, failures)
            ready = member.condition.found is ReplicaState.READY
            await self._pause(member, READY_INTERVAL_SECONDS if ready else NOT_READY_INTERVAL_SECONDS)

    async def look(self, member: Member) -> Probe:
        """Probe one replica now; whatever goes wrong is an answer."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await member.backend.probe(self._client, member.replica)
        except TimeoutError:
            return Probe(ReplicaState.UNREACHABLE, f"no answer to the probe in {PROBE_SECONDS:g} s")
        except Exception as error:
            log.exception("probe crashed", replica=member.replica.name)
            return Probe(ReplicaState.UNREACHABLE, f"the probe crashed with {type(error).__name__}")

    def _apply(self, member: Member, found: Probe, failures: int) -> None:
        replica = member.replica
        before = member.condition.found
        if self._has_no_engine(member):
            return  # since this look began
        if found.state is ReplicaState.READY:
            replica.load = found.load
        elif before is ReplicaState.READY and failures < FAILURES_TO_DROP and found.state not in _SAID:
            return
        elif before is ReplicaState.STARTING and id(replica) in self._launched:
            return  # its supervisor knows better
        self._fleet.report(replica, found.state, found.reason)
        if found.state is not before:
            log.info("replica changed", replica=replica.name, state=found.state.value, reason=found.reason or None)

    def _has_no_engine(self, member: Member) -> bool:
        return member.condition.found is ReplicaState.FAILED and id(member.replica) in self._launched

    async def _pause(self, member: Member, seconds: float) -> None:
        """Wait, but look at once when the call's way has found the replica dead."""
        ready = member.condition.found is ReplicaState.READY
        try:
            async with asyncio.timeout(seconds):
                await self._fleet.wait_for_change()
                while (member.condition.found is ReplicaState.READY) is ready:
                    await self._fleet.wait_for_change()
        except TimeoutError:
            pass
