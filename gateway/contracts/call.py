"""A call's nouns, from who asked to how it ended; plain data, frozen where a call's way hands it around."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Raw, Struct

from gateway.contracts.quota import Limit


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
    PIN = "pin"
    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"


class Principal(Struct, frozen=True):
    """Who is calling.

    Attributes:
        key_id: the public half of the key: safe to log, useless to log in with.
        models, operations: what it may ask for; None is everything. Models by name, not by alias.
        limits: those that stand with its key, its team and its tenant, the key's first.
        share: weight of its tenant where tenants wait for the same engines.
        priority: how urgent its calls are; higher is more urgent, 0 is ordinary.
        metadata: whatever its owner wrote down; never interpreted here.
    """

    key_id: str
    key_name: str
    tenant: str
    team: str | None = None
    scopes: frozenset[str] = frozenset({Scope.INFERENCE})
    models: frozenset[str] | None = None
    operations: frozenset[Operation] | None = None
    limits: tuple[Limit, ...] = ()
    share: float = 1.0
    priority: int = 0
    metadata: Mapping[str, str] = {}


class Checkpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weights behind a model name. `context_length` is in tokens, prompt and answer together.

    Attributes:
        licence: the id of a licence record; without a policy that knows records it is only a word.
        derived_from: the id of the checkpoint that these weights were made of, by tuning or quantising them.
    """

    id: str
    revision: str = "main"
    weight_format: str | None = None
    licence: str | None = None
    derived_from: str | None = None
    context_length: int


class Prices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens cost, by class. Cached input costs what input does where it is not given."""

    input: Annotated[float, Meta(ge=0)]
    output: Annotated[float, Meta(ge=0)]
    cached_input: Annotated[float, Meta(ge=0)] | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")] = "USD"

    def cost_nanos(self, usage: Usage) -> int:
        """What an answer cost, in billionths of the currency; a class that is not known counts as none."""
        cached = usage.cached_tokens or 0
        fresh = max((usage.prompt_tokens or 0) - cached, 0)
        of_cached = self.input if self.cached_input is None else self.cached_input
        # A price per million, times a thousand, is the nanos of one token.
        return round(1_000 * (fresh * self.input + cached * of_cached + (usage.completion_tokens or 0) * self.output))


class Model(Struct, frozen=True):
    """A served name with its aliases and the checkpoint that its replicas serve unless they say otherwise.

    Attributes:
        defaults: sampling parameters sent to every engine where the client says nothing, so that engines do not differ
            by defaults of their own.
        reasoning_fields: the names under which clients get what the model thought.
        prices: None where nobody has said what it costs.
        tokenizer: a folder with `tokenizer.json` and a chat template, by which prompts are counted before they are served.
    """

    name: str
    aliases: tuple[str, ...]
    checkpoint: Checkpoint
    defaults: Mapping[str, Raw] = {}
    reasoning_fields: tuple[str, ...] = ("reasoning_content",)
    prices: Prices | None = None
    tokenizer: Path | None = None


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
    """One try on one replica.

    Attributes:
        error_code: None for the try that served the call.
        began_seconds: since the call was received.
        seconds: until it failed, or until the first event of its stream, or all of a plain answer, was there.
        reason: why it failed, one line for whoever runs the gateway, without an address; not for callers.
        hedge: it was made beside another one that was late.
    """

    replica: str
    backend: str
    error_code: str | None = None
    began_seconds: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    hedge: bool = False


class Outcome(Struct, kw_only=True):
    """How a call ended and what it used. Times are seconds since the call was received; None means never reached.

    `status` is the HTTP status the client got, or 499 when it left before the end.
    `streamed_events` counts the events relayed, which is not a count of tokens. `transforms` names what the gateway
    changed in the request or mended in the answer, `dropped_params` what it left out because the engine would reject it.

    Attributes:
        usage: None if no engine has worked on the call.
        usage_estimated: the engine did not tell all of it, because it failed or the client left; the rest is the
            gateway's count of what was really sent and produced.
        cost_nanos: billionths of the currency of the model's prices; None where it has none, 0 if no engine has worked.
        checkpoint: the weights that served it, or were about to.
        attribution: what the attribution policies want recorded.
        admitted_seconds: when the last admission policy let it pass; waiting in a queue is before that.
    """

    ending: Ending
    status: int
    error_code: str | None = None
    usage: Usage | None = None
    usage_estimated: bool = False
    cost_nanos: int | None = None
    checkpoint: Checkpoint | None = None
    attribution: tuple[str, ...] = ()
    finish_reason: str | None = None
    attempts: tuple[Attempt, ...] = ()
    streamed_events: int = 0
    transforms: tuple[str, ...] = ()
    dropped_params: tuple[str, ...] = ()
    admitted_seconds: float | None = None
    placed_seconds: float | None = None
    first_byte_seconds: float | None = None
    total_seconds: float = 0.0


class Step(Struct, frozen=True, kw_only=True):
    """What one routing policy did with the list that its predecessor left.

    Attributes:
        policy: its name; `capability_fit` is the core's own first look: who is ready, has a free slot, and can do what is asked.
        left: names of replicas, best first. A `capability_fit` only stands where somebody was dropped.
        dropped: name and reason, a word or a few ("full", "starting", "context", "hours"), of each that it took out.
        scores: the numbers it ranked by, one for each of `left` in the same order; empty where it ranked by none.
        unit: what the numbers are ("seconds", "share of slots", "nanos"); what is better, `left` tells.
        note: one line for people, where the policy has something to add.
    """

    policy: str
    left: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    scores: tuple[float, ...] = ()
    unit: str = ""
    note: str = ""


class Decision(Struct, kw_only=True):
    """Why a call went where it went; plain data, without an address, filled in as it is made.

    Attributes:
        candidates: every replica of the model, in the order of the configuration.
        steps: what each routing policy did, in order; the last one's `left` is the order in which replicas were tried, and
            where that is empty its policy is why the call was refused.
        chosen: the replica whose answer the client got; the attempts before it are in `Outcome.attempts`.
        arm, probability: of an experiment, as `EXPERIMENT=ARM`, and the chance with which the call came into it.
    """

    candidates: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    chosen: str | None = None
    arm: str = ""
    probability: float | None = None
