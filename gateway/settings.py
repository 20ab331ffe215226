"""The shape of the configuration file: data only; reading is config_file's work, checking is validation's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.contracts.call import Checkpoint, Prices
from gateway.contracts.copying import CopyLimits
from gateway.contracts.secret import Secret

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
DefaultName = Literal[
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
    "max_tokens", "stop",
]  # fmt: skip
ReasoningField = Literal["reasoning_content", "reasoning"]

Entry = dict[str, Any]
"""One item of a list of extensions: `use: NAME`, and that extension's own settings beside it."""


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen and what to take.

    Attributes:
        max_body_bytes: a longer request is refused with 413 before it is read whole.
        body_seconds: how long a client may take to send its body.
        head_seconds: how long from its connection, or from a request's first byte, to the end of the request's head.
        keep_alive_seconds: how long a connection may wait for its next request; longer than a load balancer's own.
        max_connections: of all clients at a time, as far as the system's limit of open files allows; others get 503.
        max_connections_per_client: of one address; null where a load balancer makes them all.
        grace_seconds: how long calls in flight may take to end once a stop was asked for.
        anonymous: serve callers that no authenticator knows, as tenant `anonymous`. For a closed machine only.
        debug: add the engine's own words to errors. Never for a gateway that others use.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    max_body_bytes: Annotated[int, Meta(ge=1_024)] = 33_554_432
    body_seconds: Seconds = 60.0
    head_seconds: Seconds = 10.0
    keep_alive_seconds: Seconds = 75.0
    max_connections: Annotated[int, Meta(ge=1)] = 8_192
    max_connections_per_client: Annotated[int, Meta(ge=1)] | None = None
    grace_seconds: Seconds = 30.0
    anonymous: bool = False
    debug: bool = False


class TimeoutSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to wait for an engine, in seconds.

    Attributes:
        first_byte_seconds: until the first event of a stream, or the head of a whole answer.
        idle_seconds: between two pieces of an answer, comments in between not counted; never its whole length.
        total_seconds: from one attempt's start to the end of its answer; null for as long as it takes.
    """

    connect_seconds: Seconds = 2.0
    first_byte_seconds: Seconds = 300.0
    idle_seconds: Seconds = 120.0
    total_seconds: Seconds | None = None


class ReplicaTimeoutSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of the model's `timeouts` is otherwise for one replica; what is not said is the model's."""

    connect_seconds: Seconds | None = None
    first_byte_seconds: Seconds | None = None
    idle_seconds: Seconds | None = None
    total_seconds: Seconds | None = None


class BreakerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a replica on which calls fail is given no more of them, and how it comes back.

    Attributes:
        window_seconds: what is looked at; a failure is forgotten after so long.
        minimum_calls: fewer within the window say nothing.
        failure_share: of the calls within the window, from which on it is taken out.
        floor_share: of the model's replicas that must stay in, at least one; below it none is taken out.
        open_seconds: how long it is out the first time; twice as long each time in a row, up to `longest_open_seconds`.
        trial_calls: how many it is then given; if all serve, it is back, and if one fails, it is out again.
        slow_start_seconds: how long its share of slots grows, from a tenth, until it has all of them again.
    """

    enabled: bool = True
    window_seconds: Seconds = 30.0
    minimum_calls: Annotated[int, Meta(ge=1, le=100_000)] = 10
    failure_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    floor_share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    open_seconds: Seconds = 10.0
    longest_open_seconds: Seconds = 300.0
    trial_calls: Annotated[int, Meta(ge=1, le=100)] = 3
    slow_start_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 30.0


class RetrySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much more engines may be asked than callers ask, while nothing has reached the caller.

    Attributes:
        budget_share: further tries, as a share of the calls of the last ten seconds: so a brown-out is not doubled.
        minimum_calls: further tries in ten seconds however few calls there are.
        longest_pause_seconds: if every replica is overloaded and has said when to come back (`Retry-After`), wait for the
            first of them if it is not longer than that; 0 for never.
        longest_hold_seconds: a replica that has said when to come back is not called before, but for no longer than that;
            0 for calling it all the same.
        longest_rest_seconds: one that is overloaded and does not say is passed over while others can be called: first for a
            tenth of a second, twice as long each time in a row, up to that; 0 for never.
        empty_answers: also try another replica if a chat or a completion comes with no text and no tool call. Streams
            then begin with the first of these.
    """

    budget_share: Annotated[float, Meta(ge=0, le=10)] = 0.2
    minimum_calls: Annotated[int, Meta(ge=0, le=100_000)] = 10
    longest_pause_seconds: Annotated[float, Meta(ge=0, le=600)] = 2.0
    longest_hold_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 60.0
    longest_rest_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 5.0
    empty_answers: bool = False


class HedgeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a second replica is asked when the first event of a stream is late; the first to answer wins.

    Attributes:
        floor_seconds: a first event is not late before; beyond that it is late when it takes longer than 95 of 100 of
            the replica's last ones did.
        budget_share: second tries, as a share of the calls of the last ten seconds.
        minimum_calls: second tries in ten seconds however few calls there are.
    """

    enabled: bool = False
    floor_seconds: Seconds = 1.0
    budget_share: Annotated[float, Meta(ge=0, le=1)] = 0.05
    minimum_calls: Annotated[int, Meta(ge=0, le=100_000)] = 1


class MirrorSettings(CopyLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls are copied to other replicas, whose answers nobody gets: to warm and to watch an engine.

    Attributes:
        to: the model whose replicas get the copies.
        replicas: only these of them, by name; `*` stands for any part of one.
        share: of the model's calls.
    """

    to: Name
    replicas: tuple[str, ...] = ()
    share: Annotated[float, Meta(gt=0, le=1)]


class ReplicaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine endpoint: either it runs already (`url`), or the gateway starts it (`launch`).

    Attributes:
        weight, tier: its part of the calls, and 0 for those that are asked first; for policies that go by them.
        labels: what else is known of it, for people.
        served_model: the name that the engine knows the model by; the model's own name by default.
        max_concurrent: calls that may be in flight here at once.
        context_length: tokens, where this endpoint takes fewer than the checkpoint could.
        checkpoint: where these weights are not the model's (a quantised or tuned copy).
        timeouts: where this engine takes longer, or should not, than the model's `timeouts` allow.
        api_key: what the engine itself wants as a bearer token.
        options: the backend's own settings.
    """

    name: Name
    backend: str
    url: str | None = None
    launch: dict[str, Any] | None = None
    served_model: str | None = None
    max_concurrent: Annotated[int, Meta(ge=1, le=100_000)] = 256
    context_length: Annotated[int, Meta(ge=1)] | None = None
    checkpoint: Checkpoint | None = None
    timeouts: ReplicaTimeoutSettings = ReplicaTimeoutSettings()
    api_key: Secret | None = None
    options: dict[str, Any] = {}
    weight: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0
    tier: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    labels: dict[str, str] = {}


class SourceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every item of a model's `targets` may say; `use` and the source's own settings stand beside it.

    Attributes:
        replica: what all of its replicas have in common, as it would stand under `replicas`; `name` is how their names begin.
        max_targets: it may tell of no more; a longer list is not taken.
        change_seconds: how long after one change the next one is taken.
    """

    replica: dict[str, Any] = {}
    max_targets: Annotated[int, Meta(ge=1, le=4_096)] = 256
    change_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 2.0


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A served name and the replicas behind it.

    Attributes:
        targets: where more replicas are found, which come and go; sources of targets, each with `SourceSettings`.
        max_attempts: how many replicas are tried for one call.
        defaults: sampling parameters sent to every engine where the client says nothing.
        reasoning_fields: names under which clients get what the model thought.
        breaker: when a replica that fails is left alone.
        retries: how much more engines may be asked than callers ask.
        hedge: whether a second replica is asked when the first one is late.
        mirror: whether some calls are copied to other replicas.
        routing: routing policies of this model, in place of those under `policies`.
        prices: what a million tokens cost, for costs in the ledger and in limits.
        tokenizer: a folder with the model's `tokenizer.json` and chat template; prompts are then counted exactly where
            that matters.
    """

    name: Name
    aliases: list[Name] = []
    checkpoint: Checkpoint
    replicas: list[ReplicaSettings] = []
    targets: list[Entry] = []
    max_attempts: Annotated[int, Meta(ge=1, le=16)] = 3
    defaults: dict[DefaultName, float | int | str | list[str]] = {}
    reasoning_fields: Annotated[list[ReasoningField], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: ["reasoning_content"]
    )
    timeouts: TimeoutSettings = TimeoutSettings()
    breaker: BreakerSettings = BreakerSettings()
    retries: RetrySettings = RetrySettings()
    hedge: HedgeSettings = HedgeSettings()
    mirror: MirrorSettings | None = None
    routing: list[Entry] | None = None
    prices: Prices | None = None
    tokenizer: Path | None = None


class PolicySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which policies run, in this order. Without `routing` it is the default list; an empty list is none at all."""

    admission: list[Entry] = []
    routing: list[Entry] | None = None
    attribution: list[Entry] = []


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. At least one model is needed to serve.

    Attributes:
        database: where tenants, keys and the ledger are kept, if a plugin keeps any: `sqlite:///FILE` or
            `postgresql://USER:PASSWORD@HOST:PORT/NAME`.
        state: where budgets live that several gateways share: `memory://` for one gateway alone, or the URL of a store
            that a plugin gives, such as `valkey://HOST:PORT/0`.
    """

    server: ServerSettings = ServerSettings()
    database: Secret = msgspec.field(default_factory=lambda: Secret("sqlite:///moegate.db"))
    state: Secret = msgspec.field(default_factory=lambda: Secret("memory://"))
    models: list[ModelSettings] = []
    policies: PolicySettings = PolicySettings()
    plugins: list[Entry] = []
