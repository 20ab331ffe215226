"""Experiments on a call's way: who puts a call into one arm of an experiment, and what it is told of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.contracts.backend import Replica
from gateway.contracts.call import Call, Outcome
from gateway.contracts.copying import CopyLimits

Able = Callable[[], Sequence[Replica]]
"""Replicas of the call's model that can do what it asks, whatever their state; found out when it is called."""


class ArmWatch(Protocol):
    """What an experiment keeps of one call, or of one copy. On its way, synchronous; a crash is logged, and the call goes on."""

    def sent(self, piece: bytes) -> None:
        """A piece of an accepted answer is about to be sent: whole events of a stream, or all of a plain answer."""

    def ended(self, outcome: Outcome) -> None:
        """The call is over. Exactly once, however it went, and before its leases are settled."""


class CopyTo(Struct, frozen=True, eq=False):
    """One copy of a call, to the replica with the most room among these; nobody gets its answer but the watch.

    A copy asks no policy, is in no ledger, is tried once and says nothing of its replica's health. Its outcome's times are
    since it was sent itself. One that was not sent, or had to give way, ends as `disconnected` with the reason as its
    `error_code`: `copies` or `bytes` (its limits), `load`, `busy`, `room`, `no_replica`, `unfit`, `client_left`, `stopped`.
    """

    replicas: frozenset[str]
    watch: ArmWatch


class Copies(Struct, frozen=True, eq=False):
    """Copies of one call: all of them are made, or none. `limits` are for all that go by the same name."""

    name: str
    limits: CopyLimits
    to: tuple[CopyTo, ...]


class Assigned(Struct, frozen=True, eq=False):
    """One call's arm.

    Attributes:
        label: `EXPERIMENT=ARM`, as `x-moegate-arm`, the ledger and the decision have it.
        probability: with which its unit gets this arm, as long as weights stay.
        replicas: names of those that belong to the arm; routing policies choose among them.
        fall_back: where none of them takes the call, or all that were tried failed before the answer began, the model's other
            replicas serve it.
        copies: that go to other replicas of the model beside the call.
    """

    label: str
    probability: float
    replicas: frozenset[str]
    watch: ArmWatch
    fall_back: bool = True
    copies: Copies | None = None


class Assigner(Protocol):
    """Runs experiments."""

    def assign(self, call: Call, able: Able) -> Assigned | None:
        """Put a call into an arm, or leave it alone. No I/O, no waiting; on the call's way, after admission.

        A call joins only if every arm can serve it, by what `able` says: otherwise arms would see different calls.
        """
