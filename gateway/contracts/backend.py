"""How one kind of engine is spoken to, and what is known of each of its endpoints; sans-IO, so that it tests without sockets."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from msgspec import Meta, Struct

from gateway.contracts.call import Call, Checkpoint, Operation, Usage

if TYPE_CHECKING:
    import httpx

    from gateway.errors import UpstreamError


class ReplicaState(StrEnum):
    """What a replica can do for us now; only one that is ready is given calls. Starting is a normal state, not a failure.

    Paused and sleeping is what engines say of themselves; draining is what they say, or what somebody asked of the
    gateway; ejected is what the gateway's own breaker says of one whose calls fail though it looks well.
    """

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    PAUSED = "paused"
    SLEEPING = "sleeping"
    EJECTED = "ejected"
    UNREACHABLE = "unreachable"
    FAILED = "failed"


RUNNING_STATES = frozenset({
    ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.PAUSED, ReplicaState.SLEEPING, ReplicaState.EJECTED,
})  # fmt: skip
"""Those of a replica whose engine runs, whether calls are placed there or not."""


class Capability(StrEnum):
    """What an engine may or may not be able to do, beside its operations."""

    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    LOGPROBS = "logprobs"
    REASONING = "reasoning"
    PRIORITY = "priority"
    CACHE_SALT = "cache_salt"


class ReplicaLoad(Struct, frozen=True):
    """What an engine says of its own load; None where it does not say.

    Attributes:
        kv_use: share of the KV cache that is in use, 0 to 1.
        cache_hit_rate: share of prompt tokens that the engine found in its prefix cache, 0 to 1.
    """

    running: int | None = None
    waiting: int | None = None
    kv_use: float | None = None
    cache_hit_rate: float | None = None


class Replica(Struct, kw_only=True, eq=False):
    """One engine endpoint: what the configuration says of it, and how it is now.

    Routing policies read it; only the fleet writes the second half, and of the first what may change while it serves:
    weight, tier and labels.

    Attributes:
        name: unique within the configuration; clients see it in `x-moegate-replica`, so it is no secret.
        url: where the engine listens; never shown to a client.
        served_model: the model name that the engine itself expects.
        operations: what the backend and this endpoint can do.
        context_length: tokens, prompt and answer together, that this endpoint takes.
        max_concurrent: calls in flight that the gateway will place here.
        weight: its part of the calls among those of its tier; 0 is a last resort.
        tier: 0 is asked first.
        labels: what else is known of it, for people.
        state_reason: one line for people, empty when ready.
        in_flight: calls placed here by this gateway and not yet over.
        slots: calls that may be in flight here at this moment: `max_concurrent`, or fewer while it recovers from
            failures, and 0 while it has asked not to be called; -1 at first stands for `max_concurrent`.
        breaker: `closed`, `open`, `half_open` or `recovering`; see `gateway/fleet/breaker.py`.
        drained: somebody asked the gateway to place no more calls here.
        changed_at: monotonic seconds of the last change of state.
    """

    name: str
    model: str
    backend: str
    url: str
    served_model: str
    checkpoint: Checkpoint
    operations: frozenset[Operation]
    capabilities: frozenset[Capability] = frozenset()
    context_length: int
    max_concurrent: int

    weight: float = 1.0
    tier: int = 0
    labels: Mapping[str, str] = {}

    state: ReplicaState = ReplicaState.STARTING
    state_reason: str = "not probed yet"
    load: ReplicaLoad | None = None
    in_flight: int = 0
    slots: int = -1
    breaker: str = "closed"
    drained: bool = False
    changed_at: float = 0.0

    def __post_init__(self) -> None:
        """All slots, until the fleet says otherwise."""
        if self.slots < 0:
            self.slots = self.max_concurrent


class UpstreamRequest(Struct, frozen=True):
    """What to send to the engine: `path` is appended to the replica's URL; Host and Content-Length are the pool's to add.

    Attributes:
        transforms: names of the edits that were made, for `x-moegate-transforms`.
        dropped_params: parameters that were left out because the engine would reject them.
        notes: what the backend's own meter must know of what was sent; nobody else looks at it.
    """

    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    transforms: tuple[str, ...] = ()
    dropped_params: tuple[str, ...] = ()
    notes: Any = None


class Meter(Protocol):
    """Reads one answer as it passes: counts, finds usage, hides what the client did not ask for.

    One meter serves one attempt. After a feed, `error` is set if an event of the engine's was an error; what came
    before it is in the bytes returned. `transforms` names what was mended in the answer so far.
    """

    usage: Usage | None
    finish_reason: str | None
    events: int
    error: UpstreamError | None
    transforms: list[str]

    def feed_events(self, events: bytes) -> bytes:
        """Take one or more whole SSE events; return the bytes that the client shall see, possibly none."""

    def end_events(self) -> UpstreamError | None:
        """The engine closed the stream: return an error if it was cut short, None if it was complete."""

    def read_body(self, body: bytes) -> bytes:
        """Take a whole non-streamed answer; return what the client shall see."""


class Probe(Struct, frozen=True):
    """What one look at an engine found. `reason` explains a state that is not ready, in one line, without addresses."""

    state: ReplicaState
    reason: str = ""
    load: ReplicaLoad | None = None


class LaunchPlan(Struct, frozen=True):
    """How to start an engine on this machine: what to run, with which extra environment, and where it will listen."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    url: str


class LaunchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every `launch:` block may say.

    Attributes:
        model: the model's folder or file, relative to the working directory.
        ready_seconds: how long the engine may take from its start until it serves; one that takes longer is stopped.
    """

    model: Path
    port: Annotated[int, Meta(ge=1, le=65_535)]
    ready_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 900.0


class Launcher(Protocol):
    """Knows how to start one kind of engine. `settings` is the type of the replica's `launch:` block."""

    settings: type[LaunchSettings]

    def plan(self, launch: Any, *, served_model: str, max_concurrent: int) -> LaunchPlan:
        """Return what to run.

        Raises:
            ConfigError: the engine is not installed, or the model folder is not there; the message says what to run.
        """


@runtime_checkable
class Salting(Protocol):
    """A backend that keeps tenants out of each other's prefix caches; it need not."""

    def cache_salt(self, call: Call) -> str | None:
        """The salt that a call's request gets; None if it gets none."""


@runtime_checkable
class Backend(Protocol):
    """How to speak to one kind of engine. Holds no connection and no state of a call."""

    @property
    def kind(self) -> str:
        """The name that records, metrics and `x-moegate-backend` use."""

    @property
    def operations(self) -> frozenset[Operation]:
        """What this kind of engine can do."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What else it can do."""

    @property
    def launcher(self) -> Launcher | None:
        """How the gateway can start one itself; None if it cannot."""

    def objection(self, call: Call, replica: Replica) -> str | None:
        """Say why this engine would not do what the call asks, though it might answer it: then it is not placed here.

        One sentence for the client, which names the parameter; None if there is nothing to object to.
        """

    def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
        """Turn a call into the engine's own request; `attempt_id` is unique per attempt and safe to show the engine."""

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        """Read an answer whose status is not 2xx: is it overloaded (retry elsewhere), or does it refuse the request?"""

    def read_first_event(self, event: bytes) -> UpstreamError | None:
        """Say whether the first event of a stream is in truth an error: engines answer 200 before they know."""

    def new_meter(self, call: Call, request: UpstreamRequest) -> Meter:
        """A fresh meter for one attempt at this call; `request` is what `prepare` made of it."""

    def abort(self, request: UpstreamRequest) -> UpstreamRequest | None:
        """What to send to an engine that does not notice a closed connection; None for those that do."""

    async def probe(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """Look at the engine without disturbing it. Off the call's way; must not raise for an engine that is down."""
