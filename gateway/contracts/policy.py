"""What decides: admission (may it run), routing (where), attribution (what must be shown)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from gateway.contracts.backend import Replica
from gateway.contracts.call import Call, Checkpoint, Outcome, Usage


class Lease(Protocol):
    """What an admission granted.

    It may have an attribute `headers`, a sequence of header names in lower case and values: the client gets them with
    its answer, whatever that is.
    """

    def settle(self, outcome: Outcome) -> Awaitable[None] | None:
        """Give it back. Called exactly once, whatever happens, in reverse order of admission, never cancelled."""


class AdmissionPolicy(Protocol):
    """May this call run?"""

    async def admit(self, call: Call) -> Lease | None:
        """Grant, with a lease if there is something to give back.

        Raises:
            Rejected, QuotaExceeded: the call must not run. Leases that were granted before are settled.
        """


class Ranking(Struct, frozen=True):
    """A routing policy's answer with its reasons, which become a `Step` of the call's Decision.

    Attributes:
        replicas: those that are left, best first.
        scores: the numbers they were ranked by, in the same order; empty where there are none.
        unit: what the numbers are, such as "seconds".
        reason: why those that are missing were dropped, in a word or a few.
        note: one line for people.
    """

    replicas: Sequence[Replica]
    scores: Sequence[float] = ()
    unit: str = ""
    reason: str = ""
    note: str = ""


class RoutingPolicy(Protocol):
    """Where should this call run?"""

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
        """Keep, drop or reorder what the policy before it left; best first. No I/O, no waiting; on the call's way.

        `replicas` must not be changed. A policy that sorts should leave in its predecessor's order what it finds equal:
        so the last policy of a list has the last word, and those before it decide ties.
        """


@runtime_checkable
class Preparing(Protocol):
    """A routing policy that has to look into a call for longer than `rank` may. Found out once, when a runtime is built."""

    async def prepare(self, call: Call) -> None:
        """Look into it. Awaited once per call, after admission and before the first policy of its list ranks.

        The call waits for it, and every one does: bound it, and keep what is long off the event loop. A crash is a crash
        of `rank`.
        """


class AttemptEnd(Struct, frozen=True, kw_only=True):
    """How one attempt at a call ended, on one replica.

    Attributes:
        seconds: from when it was sent until it was over.
        first_event_seconds: until the first event of a stream, or a whole plain answer, had come; None if none came.
        usage: what the engine told that it used; None if it did not get to tell.
        events: relayed events of a stream.
        error_code: of the failure; `broken_off` where client or engine left in the middle of an answer; None if it is whole.
    """

    seconds: float
    first_event_seconds: float | None = None
    usage: Usage | None = None
    events: int = 0
    error_code: str | None = None


class AttemptWatch(Protocol):
    """What an observer keeps of one attempt. A crash is logged, and the call goes on."""

    def answered(self, seconds: float) -> None:
        """The first event of a stream has come, so many seconds after it was sent. At most once, and for streams only."""

    def ended(self, end: AttemptEnd) -> None:
        """It is over. Exactly once for each `placed`, however it went: failures, retries and clients that leave as well."""


class RoutingObserver(Protocol):
    """Whoever learns from what becomes of the attempts. On the call's way, synchronous; a few microseconds at most."""

    def placed(self, call: Call, replica: Replica) -> AttemptWatch | None:
        """An attempt is about to be sent; `replica.in_flight` counts it already. None if it need not be watched."""


@runtime_checkable
class Observant(Protocol):
    """A routing policy that learns. Found out once, when a runtime is built: where no policy is one, nothing is watched."""

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """Who is told, in this order: the policy itself or other objects; one that several policies share is told once."""


class Attribution(Struct, frozen=True):
    """What a product must be told about the weights that serve it.

    Attributes:
        headers: names in lower case.
        record: what the ledger keeps of it.
        in_answer: a JSON object for the answer's own body, or empty: the value of `moegate.attribution` in one that is
            not streamed, and a comment after the last event of one that is.
    """

    headers: tuple[tuple[bytes, bytes], ...] = ()
    record: str = ""
    in_answer: bytes = b""


class AttributionPolicy(Protocol):
    """What must be shown for the weights that will serve this call?"""

    def annotate(self, call: Call, replica: Replica) -> Attribution | None:
        """Decide after routing, per attempt, before the first byte. No I/O, no waiting.

        Raises:
            Rejected: the call must not be answered from these weights; with its `record`, if the ledger shall keep one.
        """


@runtime_checkable
class Describing(Protocol):
    """An attribution policy that has something to say of weights before anybody uses them; it need not."""

    def describe(self, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
        """What `/v1/models` says of them under `licences`: plain data, the same for every caller; None for nothing."""
