"""The shape of the configuration file: data only; reading is config_file's work, checking is validation's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.contracts.call import Checkpoint, Prices
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
    max_connections: Annotated[int, Meta(ge=1)] = 10_000
    max_connections_per_client: Annotated[int, Meta(ge=1)] | None = None
    grace_seconds: Seconds = 30.0
    anonymous: bool = False
    debug: bool = False


class TimeoutSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to wait for an engine, in seconds. Idle counts between two pieces of an answer, never its whole length."""

    connect_seconds: Seconds = 2.0
    first_byte_seconds: Seconds = 300.0
    idle_seconds: Seconds = 120.0


class ReplicaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine endpoint: either it runs already (`url`), or the gateway starts it (`launch`).

    Attributes:
        served_model: the name that the engine knows the model by; the model's own name by default.
        max_concurrent: calls that may be in flight here at once.
        context_length: tokens, where this endpoint takes fewer than the checkpoint could.
        checkpoint: where these weights are not the model's (a quantised or tuned copy).
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
    api_key: Secret | None = None
    options: dict[str, Any] = {}


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A served name and the replicas behind it.

    Attributes:
        max_attempts: how many replicas are tried for one call.
        defaults: sampling parameters sent to every engine where the client says nothing.
        reasoning_fields: names under which clients get what the model thought.
        prices: what a million tokens cost, for costs in the ledger and in limits.
        tokenizer: a folder with the model's `tokenizer.json` and chat template; prompts are then counted exactly where
            that matters.
    """

    name: Name
    aliases: list[Name] = []
    checkpoint: Checkpoint
    replicas: list[ReplicaSettings]
    max_attempts: Annotated[int, Meta(ge=1, le=16)] = 3
    defaults: dict[DefaultName, float | int | str | list[str]] = {}
    reasoning_fields: Annotated[list[ReasoningField], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: ["reasoning_content"]
    )
    timeouts: TimeoutSettings = TimeoutSettings()
    prices: Prices | None = None
    tokenizer: Path | None = None


class PolicySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which policies run, in this order."""

    admission: list[Entry] = []
    routing: list[Entry] = []
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
