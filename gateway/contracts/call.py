"""A call's nouns, from who asked to how it ended; plain data, frozen where a call's way hands it around."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Raw, Struct


class Operation(StrEnum):
    """What a client asks an engine to do; the value is the word used in configuration, records and metrics.

    Messages and count_tokens are Anthropic's; the rest is OpenAI's, but for tokenize, which is the engines' own.
    """

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    TOKENIZE = "tokenize"


class Scope(StrEnum):
    """What a key may do."""

    INFERENCE = "inference"


class Principal(Struct, frozen=True):
    """Who is calling. `key_id` is the public half of the key: safe to log, useless to log in with."""

    key_id: str
    key_name: str
    tenant: str
    team: str | None = None
    scopes: frozenset[str] = frozenset({Scope.INFERENCE})


class Checkpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weights behind a model name. `context_length` is in tokens, prompt and answer together."""

    id: str
    revision: str = "main"
    weight_format: str | None = None
    licence: str | None = None
    context_length: int


class Model(Struct, frozen=True):
    """A served name with its aliases and the checkpoint that its replicas serve unless they say otherwise.

    Attributes:
        defaults: sampling parameters sent to every engine where the client says nothing, so that engines do not differ
            by defaults of their own.
        reasoning_fields: the names under which clients get what the model thought.
    """

    name: str
    aliases: tuple[str, ...]
    checkpoint: Checkpoint
    defaults: Mapping[str, Raw] = {}
    reasoning_fields: tuple[str, ...] = ("reasoning_content",)


class Call(Struct, frozen=True, kw_only=True):
    """One inference request.

    Attributes:
        call_id: unique, sent back as `x-moegate-call-id`.
        body: the request's bytes as the client sent them; valid JSON, an object at the top.
        fields: the same, cut at its top level. Whoever replaces one of the two replaces both.
        priority: how urgent the caller's calls are; higher is more urgent, 0 is ordinary.
        max_tokens: the answer's limit as asked for (`max_completion_tokens` wins over `max_tokens`), if any.
        wants_usage: the client itself asked for usage in its stream, so it is not hidden from it.
        sets_stream_options: the body holds `stream_options`, which then must be edited rather than added.
        headers: the client's headers, names in lower case.
        received_at: monotonic seconds.
    """

    call_id: str
    operation: Operation
    model: Model
    requested_model: str
    principal: Principal
    body: bytes
    fields: Mapping[str, Raw]
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: bool = False
    wants_usage: bool = False
    sets_stream_options: bool = False
    max_tokens: int | None = None
    user: str | None = None
    has_tools: bool = False
    priority: int = 0
    received_at: float = 0.0


class Usage(Struct, kw_only=True):
    """Tokens by class. None means that the engine did not say, which is not the same as zero."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None


class Ending(StrEnum):
    """How a call ended, seen from the gateway."""

    COMPLETED = "completed"
    FAILED = "failed"
    DISCONNECTED = "disconnected"
    TIMED_OUT = "timed_out"


class Attempt(Struct, frozen=True):
    """One try on one replica. `error_code` is None for the try that served the call."""

    replica: str
    backend: str
    error_code: str | None = None


class Outcome(Struct, kw_only=True):
    """How a call ended and what it cost. Times are seconds since the call was received; None means never reached.

    `status` is the HTTP status the client got, or 499 when it left before the end.
    `streamed_events` counts the events relayed, which is not a count of tokens. `transforms` names what the gateway
    changed in the request or mended in the answer, `dropped_params` what it left out because the engine would reject it.
    """

    ending: Ending
    status: int
    error_code: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    attempts: tuple[Attempt, ...] = ()
    streamed_events: int = 0
    transforms: tuple[str, ...] = ()
    dropped_params: tuple[str, ...] = ()
    placed_seconds: float | None = None
    first_byte_seconds: float | None = None
    total_seconds: float = 0.0


class Decision(Struct, kw_only=True):
    """Why a call went where it went.

    `steps` holds, per routing policy in order, its name and the replicas that it left, best first.
    """

    candidates: tuple[str, ...] = ()
    steps: tuple[tuple[str, tuple[str, ...]], ...] = ()
    chosen: str | None = None
