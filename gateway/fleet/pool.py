"""The replicas behind a model and all pools together; counts what is in flight, and is the only writer of a replica's state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container, Iterable, Sequence

from msgspec import Struct

from gateway.contracts.backend import Backend, Replica, ReplicaState
from gateway.contracts.call import Call, Model, Operation
from gateway.contracts.plugin import LaunchedReplica
from gateway.upstream import HeaderBlock, Origin, Timeouts

# What every engine honours in chat and completions; a call with nothing else needs no look at what its engine can do.
ORDINARY_PARAMS = frozenset({
    "model", "messages", "prompt", "stream", "stream_options", "temperature", "top_p", "max_tokens",
    "max_completion_tokens", "n", "stop", "seed", "user", "metadata",
})  # fmt: skip
_ORDINARY_OPERATIONS = frozenset({Operation.CHAT, Operation.COMPLETIONS})


class Member(Struct, frozen=True, eq=False):
    """A replica with all that is needed to send a call there; built once per runtime.

    `headers` go with every request to the engine, encoded once; `labels` go with every answer from it.
    """

    replica: Replica
    backend: Backend
    origin: Origin
    base_path: str
    timeouts: Timeouts
    headers: HeaderBlock
    labels: tuple[tuple[bytes, bytes], ...]


class Pool:
    """The replicas that serve one model."""

    def __init__(self, model: Model, members: Iterable[Member], max_attempts: int) -> None:
        self.model = model
        self.members = tuple(members)
        self.max_attempts = max_attempts
        self.operations = frozenset(operation for member in self.members for operation in member.replica.operations)
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
            and replica.in_flight < replica.max_concurrent
            and operation in replica.operations
            and replica.name not in unable
        ]

    def member(self, replica: Replica) -> Member | None:
        """What belongs to a replica; None if a policy made one up."""
        return self._by_replica.get(id(replica))

    def why_unavailable(self, operation: Operation) -> str:
        """One line for people: why `available` is empty. Holds no address."""
        able = self.able(operation)
        if any(replica.state is ReplicaState.READY for replica in able):
            return f"all replicas of {self.model.name} that can serve {operation.value} are at their max_concurrent"
        return f"no replica of {self.model.name} is ready: " + "; ".join(
            f"{replica.name} is {replica.state.value}" for replica in able
        )

    def not_ready_reasons(self) -> list[str] | None:
        """None if one replica is ready; else a line per replica."""
        if any(member.replica.state is ReplicaState.READY for member in self.members):
            return None
        return [
            f"{replica.name}: {replica.state.value}" + (f" ({replica.state_reason})" if replica.state_reason else "")
            for replica in (member.replica for member in self.members)
        ]


class PooledFleet:
    """Every pool of the running configuration; the `Fleet` that extensions see."""

    def __init__(self, pools: Sequence[Pool], launched: Sequence[LaunchedReplica]) -> None:
        self.pools = tuple(pools)
        self._launched = tuple(launched)
        self._changed = asyncio.Event()

    def replicas(self) -> Sequence[Replica]:
        """Every replica of every model."""
        return [member.replica for member in self.members()]

    def members(self) -> list[Member]:
        """Every replica with what belongs to it."""
        return [member for pool in self.pools for member in pool.members]

    def launched(self) -> Sequence[LaunchedReplica]:
        """Those that the gateway starts itself."""
        return self._launched

    def report(self, replica: Replica, state: ReplicaState, reason: str = "") -> None:
        """Set a replica's state; a change wakes whoever waits for one."""
        if replica.state is not state:
            replica.changed_at = time.monotonic()
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
        replica.state = state
        replica.state_reason = reason

    async def wait_for_change(self) -> None:
        """Return when any replica's state changes."""
        await self._changed.wait()

    def not_ready(self) -> dict[str, list[str]]:
        """Per model that no replica can serve now, a line per replica."""
        return {pool.model.name: reasons for pool in self.pools if (reasons := pool.not_ready_reasons()) is not None}
