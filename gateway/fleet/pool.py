"""The replicas behind a model, and all pools together: who can be given a call, and how few of them must be left."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Container, Iterable, Sequence

from msgspec import Struct

from gateway.contracts.backend import Backend, Replica, ReplicaState, Salting
from gateway.contracts.call import Call, Model, Operation
from gateway.contracts.plugin import LaunchedReplica
from gateway.contracts.targets import SourceState
from gateway.fleet.condition import Condition
from gateway.fleet.hedges import Hedges
from gateway.fleet.retries import Retries
from gateway.fleet.slots import Slot
from gateway.fleet.target_sources import TargetSources
from gateway.settings import RetrySettings
from gateway.upstream import HeaderBlock, Origin, Timeouts

# What every engine honours in chat and completions; a call with nothing else needs no look at what its engine can do.
ORDINARY_PARAMS = frozenset({
    "model", "messages", "prompt", "stream", "stream_options", "temperature", "top_p", "max_tokens",
    "max_completion_tokens", "n", "stop", "seed", "user", "metadata",
})  # fmt: skip
_ORDINARY_OPERATIONS = frozenset({Operation.CHAT, Operation.COMPLETIONS})

TICK_SECONDS = 0.1
"""How exactly time is kept while a breaker is open or an engine has asked for a pause."""


class Member(Struct, frozen=True, eq=False):
    """A replica with all that is needed to send a call there; built once per runtime.

    `headers` go with every request to the engine, encoded once; `labels` go with every answer from it.
    """

    replica: Replica
    condition: Condition
    backend: Backend
    origin: Origin
    base_path: str
    timeouts: Timeouts
    headers: HeaderBlock
    labels: tuple[tuple[bytes, bytes], ...]


class Pool:
    """The replicas that serve one model; without `hedges` no late one is hedged. It may have none until they are found."""

    def __init__(
        self,
        model: Model,
        members: Iterable[Member],
        max_attempts: int,
        retries: Retries | None = None,
        hedges: Hedges | None = None,
    ) -> None:
        self.model = model
        self.retries = retries if retries is not None else Retries(RetrySettings())
        self.hedges = hedges
        self.members = tuple(members)
        self.max_attempts = max_attempts
        found = frozenset(operation for member in self.members for operation in member.replica.operations)
        # As long as no replica is known, nobody knows what they cannot do.
        self.operations = found if self.members else frozenset(Operation)
        self._by_replica = {id(member.replica): member for member in self.members}

    def able(self, operation: Operation) -> list[Replica]:
        """Replicas that can do the operation, whatever their state."""
        return [member.replica for member in self.members if operation in member.replica.operations]

    def objections(self, call: Call) -> dict[str, str]:
        """Per replica whose engine would not do what the call asks, though it can do the operation, the reason."""
        if call.operation in _ORDINARY_OPERATIONS and call.fields.keys() <= ORDINARY_PARAMS:
            return {}
        found = {}
        for member in self.members:
            if call.operation in member.replica.operations:
                reason = member.backend.objection(call, member.replica)
                if reason is not None:
                    found[member.replica.name] = reason
        return found

    def available(self, operation: Operation, unable: Container[str] = ()) -> list[Replica]:
        """Replicas that are ready, can do the operation and have a free slot, in the order of the configuration."""
        return [
            replica
            for member in self.members
            if (replica := member.replica).state is ReplicaState.READY
            and replica.in_flight < replica.slots
            and operation in replica.operations
            and replica.name not in unable
        ]

    def member(self, replica: Replica) -> Member | None:
        """What belongs to a replica; None if a policy made one up."""
        return self._by_replica.get(id(replica))

    def take(self, member: Member) -> Slot:
        """One of its slots, for one attempt; it must be among `available`."""
        return Slot(self, member)

    def may_eject(self, member: Member) -> bool:
        """Whether enough replicas would be left without this one. A single replica is never ejected."""
        breaker = member.condition.breaker
        if breaker is None:
            return False
        left = sum(other.condition.stands for other in self.members if other is not member)
        return left >= max(1, math.ceil(breaker.settings.floor_share * len(self.members)))

    def reconsider(self, now: float) -> None:
        """Have those tried at once that are ejected while no other replica is ready any more."""
        if not any(member.replica.state is ReplicaState.READY for member in self.members):
            for member in self.members:
                if member.replica.state is ReplicaState.EJECTED:
                    member.condition.try_again(now)

    def held_seconds(self) -> float | None:
        """When the first replica may be called again that asked not to be; None if none asked, or one may be called now."""
        now = time.monotonic()
        ready = [member.condition for member in self.members if member.replica.state is ReplicaState.READY]
        return min((condition.held_seconds(now) for condition in ready), default=0.0) or None

    def why_unavailable(self, operation: Operation) -> str:
        """One line for people: why `available` is empty. Holds no address."""
        if not self.members:
            return f"no replica of {self.model.name} has been found yet"
        able = self.able(operation)
        ready = [replica for replica in able if replica.state is ReplicaState.READY]
        if ready and any(replica.in_flight < replica.max_concurrent for replica in ready):
            return (
                f"all replicas of {self.model.name} that can serve {operation.value} are at their max_concurrent, "
                "recover from failures, or have asked not to be called yet"
            )
        if ready:
            return f"all replicas of {self.model.name} that can serve {operation.value} are at their max_concurrent"
        return f"no replica of {self.model.name} is ready: " + "; ".join(
            f"{replica.name} is {replica.state.value}" for replica in able
        )

    def not_ready_reasons(self) -> list[str] | None:
        """None if one replica is ready; else a line per replica."""
        if not self.members:
            return ["starting: no replica has been found yet"]
        if any(member.replica.state is ReplicaState.READY for member in self.members):
            return None
        return [
            f"{replica.name}: {replica.state.value}" + (f" ({replica.state_reason})" if replica.state_reason else "")
            for replica in (member.replica for member in self.members)
        ]


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
