"""All pools together: what is known of their replicas, what is done with them, and the time that passes for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from gateway.contracts.backend import Replica, ReplicaState, Salting
from gateway.contracts.call import Call
from gateway.contracts.plugin import LaunchedReplica
from gateway.contracts.targets import SourceState
from gateway.fleet.pool import Member, Pool
from gateway.fleet.target_sources import TargetSources

TICK_SECONDS = 0.1
"""How exactly time is kept while a breaker is open or an engine has asked for a pause."""


class PooledFleet:
    """Every pool of the running configuration; the `Fleet` that extensions see.

    Args:
        drained: names of replicas that somebody drained; kept up to date, and shared by one configuration and the next.
        sources: where the replicas were found that the configuration does not name.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        launched: Sequence[LaunchedReplica],
        drained: set[str] | None = None,
        sources: TargetSources | None = None,
    ) -> None:
        self.pools = tuple(pools)
        self.sources = sources if sources is not None else TargetSources(())
        self._launched = tuple(launched)
        self._drained = drained if drained is not None else set()
        self._changed = asyncio.Event()
        self._unsettled = asyncio.Event()
        self._pools = {id(member.replica): pool for pool in self.pools for member in pool.members}
        self._conditions = {id(member.replica): member.condition for member in self.members()}
        self._salting = {
            id(member.replica): member.backend for member in self.members() if isinstance(member.backend, Salting)
        }
        for condition in self._conditions.values():
            condition.watchers.add(self)
            condition.drain(drained=condition.replica.name in self._drained)

    def replicas(self) -> Sequence[Replica]:
        """Every replica of every model."""
        return [member.replica for member in self.members()]

    def members(self) -> list[Member]:
        """Every replica with what belongs to it."""
        return [member for pool in self.pools for member in pool.members]

    def launched(self) -> Sequence[LaunchedReplica]:
        """Those that the gateway starts itself."""
        return self._launched

    def target_sources(self) -> Sequence[SourceState]:
        """The sources of targets, and how each is now."""
        return self.sources.states()

    def part(self, successor: PooledFleet) -> None:
        """Place no more calls on replicas that the successor does not have; what runs there may end.

        Calls that wait here for a place go to those that stay. Where none stays they have nowhere else to go.
        """
        stay = {id(replica) for replica in successor.replicas()}
        for pool in self.pools:
            if any(id(member.replica) in stay for member in pool.members):
                for member in pool.members:
                    if id(member.replica) not in stay:
                        member.condition.drain(drained=True)

    def report(self, replica: Replica, state: ReplicaState, reason: str = "") -> None:
        """Say what was found of a replica; a change of its state wakes whoever waits for one.

        One whose engine was started again is given calls slowly, unless too few others would serve meanwhile.
        """
        condition = self._conditions[id(replica)]
        if condition.report(state, reason):
            pool = self._pools[id(replica)]
            member = pool.member(replica)
            if member is not None and pool.may_eject(member):
                condition.start_slowly(time.monotonic())

    def drain(self, replica: Replica) -> None:
        """Place no more calls there; what runs may end. It holds by the replica's name, until it is resumed."""
        self._drained.add(replica.name)
        self._conditions[id(replica)].drain(drained=True)

    def resume(self, replica: Replica) -> None:
        """Place calls there again."""
        self._drained.discard(replica.name)
        self._conditions[id(replica)].drain(drained=False)

    def cache_salt(self, call: Call, replica: Replica) -> str | None:
        """What keeps the call's tenant out of others' caches there; None for nothing."""
        backend = self._salting.get(id(replica))
        return backend.cache_salt(call) if backend is not None else None

    def changed(self) -> None:
        """A replica's state has changed; see `Watcher`."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for pool in self.pools:
            pool.reconsider(time.monotonic())

    def unsettled(self) -> None:
        """A replica will change by time alone; see `Watcher`."""
        self._unsettled.set()

    async def keep_time(self) -> None:
        """Let time do its part with breakers and with engines that asked for a pause, until cancelled."""
        while True:
            self.advance(time.monotonic())
            if all(condition.settled for condition in self._conditions.values()):
                self._unsettled.clear()
                await self._unsettled.wait()
            await asyncio.sleep(TICK_SECONDS)

    def advance(self, now: float) -> None:
        """Let time do its part once."""
        for condition in self._conditions.values():
            if not condition.settled:
                condition.advance(now)

    async def wait_for_change(self) -> None:
        """Return when any replica's state changes."""
        await self._changed.wait()

    def not_ready(self) -> dict[str, list[str]]:
        """Per model that no replica can serve now, a line per replica."""
        return {pool.model.name: reasons for pool in self.pools if (reasons := pool.not_ready_reasons()) is not None}
