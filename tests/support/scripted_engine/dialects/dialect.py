"""An engine's way of speaking as data: the shapes of its operations, its errors, and what it answers beside inference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.scripted_engine.asked import Asked, Json, Operation
from tests.support.scripted_engine.dialects.judging import Judge, Refusal
from tests.support.scripted_engine.dialects.shape import Shape
from tests.support.scripted_engine.wire import DONE, spaced_sse

if TYPE_CHECKING:
    from tests.support.scripted_engine.state import EngineState

PATHS = {
    Operation.CHAT: b"/v1/chat/completions",
    Operation.COMPLETIONS: b"/v1/completions",
    Operation.MESSAGES: b"/v1/messages",
    Operation.COUNT_TOKENS: b"/v1/messages/count_tokens",
    Operation.RESPONSES: b"/v1/responses",
    Operation.TOKENIZE: b"/tokenize",
}

Side = Callable[["EngineState", str], bytes]
"""Answers a GET beside inference, from the engine's counts and its model's name."""


@dataclass(frozen=True)
class Said:
    """A whole answer: a status and its body, or the events of a stream that began with 200."""

    status: int = 200
    body: Json = field(default_factory=dict)
    events: tuple[bytes, ...] | None = None


Overload = Callable[[Shape, Asked], Said]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One engine.

    Attributes:
        shapes: per operation that generates, how it is answered.
        counts: per operation that only counts, its answer, from the number of tokens.
        judge: what it does not accept.
        error: the body of a refusal.
        stream_error: the event for a refusal inside a stream; None where this engine just hangs up.
        done_after_error: `[DONE]` follows that event.
        queue_full: what it says when its queue is full.
        queue_full_in_200: streams of chat and completions begin with 200 all the same, and say so in their first event.
        overloads: how it says so in other operations, by operation and whether it is a stream.
        refuses_in_200: so does it with whatever it refuses there.
        drain: what a new request gets while it shuts down; None where nobody listens any more.
        serves_while_draining: new requests are served all the same.
        aborts_with: how a call ends that the engine aborted: a finish reason, or an error.
        retry_after: an overload says when to come again.
        constrains: a schema is honoured, and not passed over.
        sides: GETs beside inference.
        no_route: the body of a 404 for a path that it does not have.
        deaf: a closed connection does not stop a plain call; `POST /abort_request` with its rid does.
        live: real engines of this kind are run by `make test-engines`; otherwise its shapes come from its sources alone.
    """

    name: str
    shapes: Mapping[Operation, Shape]
    counts: Mapping[Operation, Callable[[int], Json]] = field(default_factory=dict)
    judge: Judge
    error: Callable[[Operation, Refusal], Json]
    stream_error: Callable[[Operation, Refusal], Json] | None
    done_after_error: bool = True
    queue_full: Refusal
    queue_full_in_200: bool = False
    overloads: Mapping[tuple[Operation, bool], Overload] = field(default_factory=dict)
    refuses_in_200: bool = False
    drain: Refusal | None = None
    serves_while_draining: bool = False
    aborts_with: str = "abort"
    retry_after: bool = False
    constrains: bool = True
    sides: Mapping[str, Side]
    no_route: Json = field(default_factory=lambda: {"detail": "Not Found"})
    deaf: bool = False
    live: bool = True

    def paths(self) -> dict[bytes, Operation]:
        """The paths of inference that this engine has."""
        return {PATHS[operation]: operation for operation in (*self.shapes, *self.counts)}

    def refused(self, asked: Asked, refusal: Refusal) -> Said:
        """How it refuses a request that it has read."""
        plainly = asked.operation not in (Operation.CHAT, Operation.COMPLETIONS) or not self.refuses_in_200
        if plainly or not asked.stream:
            return Said(refusal.status, self.error(asked.operation, refusal))
        return Said(events=tuple(self.error_events(asked.operation, refusal)))

    def overloaded(self, asked: Asked) -> Said:
        """How it says that its queue is full."""
        own = self.overloads.get((asked.operation, asked.stream))
        if own is not None:
            return own(self.shapes[asked.operation], asked)
        if asked.stream and self.queue_full_in_200:
            return Said(events=tuple(self.error_events(asked.operation, self.queue_full)))
        return Said(self.queue_full.status, self.error(asked.operation, self.queue_full))

    def error_events(self, operation: Operation, refusal: Refusal) -> list[bytes]:
        """What a stream says of a failure; of an engine that has no such thing, the form of SGLang."""
        event = self.stream_error(operation, refusal) if self.stream_error else {"error": flat(operation, refusal)}
        if operation in (Operation.MESSAGES, Operation.RESPONSES):
            return [b"event: error\n" + spaced_sse(event)]
        return [spaced_sse(event), DONE] if self.done_after_error else [spaced_sse(event)]


def nested(_: Operation, refusal: Refusal) -> Json:
    """OpenAI's error, with the status as its code."""
    body = {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.status}
    return {"error": body}


def flat(_: Operation, refusal: Refusal) -> Json:
    """The older form without nesting."""
    body = {"object": "error", "message": refusal.message, "type": refusal.kind, "param": refusal.param}
    return {**body, "code": refusal.status}


def anthropic(refusal: Refusal, kind: str | None = None) -> Json:
    """Anthropic's envelope."""
    return {"type": "error", "error": {"type": kind or refusal.kind, "message": refusal.message}}
