"""The replicas behind a model: who can be given a call, and how few of them must be left."""

from __future__ import annotations

import math
import time
from collections.abc import Container, Iterable

from msgspec import Struct

from gateway.contracts.backend import Backend, Replica, ReplicaState
from gateway.contracts.call import Call, Model, Operation
from gateway.fleet.condition import Condition
from gateway.fleet.hedges import Hedges
from gateway.fleet.retries import Retries
from gateway.fleet.slots import Slot
from gateway.settings import RetrySettings
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
        self._may_rest = False

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
        """Replicas that are ready, can do the operation and have a free slot, in the order of the configuration.

        Those that rest are left out, unless there is no other.
        """
        found = [
            replica
            for member in self.members
            if (replica := member.replica).state is ReplicaState.READY
            and replica.in_flight < replica.slots
            and operation in replica.operations
            and replica.name not in unable
        ]
        if self._may_rest:
            resting = self.resting()
            self._may_rest = bool(resting)
            return [replica for replica in found if replica.name not in resting] or found
        return found

    def rest(self, member: Member, longest_seconds: float) -> None:
        """Pass a replica over that is overloaded, for a while and as long as others can be called."""
        member.condition.rest(longest_seconds, time.monotonic())
        self._may_rest = True

    def resting(self) -> set[str]:
        """The names of those that rest."""
        now = time.monotonic()
        return {member.replica.name for member in self.members if member.condition.rests(now)}

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
