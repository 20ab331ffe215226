"""What every operation's shape can do; and what both OpenAI shapes share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from tests.support.scripted_engine.asked import Asked, Json
from tests.support.scripted_engine.turns import Turn
from tests.support.scripted_engine.wire import CREATED, DONE, sse


class Shape(Protocol):
    """How one dialect writes the answers of one operation."""

    @property
    def opening(self) -> int:
        """How many events come before the first piece of text."""

    def whole(self, turn: Turn, asked: Asked) -> bytes:
        """The body of a plain answer."""

    def events(self, turn: Turn, asked: Asked) -> list[bytes]:
        """Every event of a stream, in order, with whatever ends it."""


def logprob(piece: str, top: int) -> Json:
    """A token with made-up log-probabilities: the chosen one is the likeliest, as it is when greedy."""
    alternatives = [{"token": piece, "logprob": -0.125, "bytes": list(piece.encode())}]
    alternatives += [
        {"token": f"other{rank}", "logprob": -2.0 - rank, "bytes": list(b"other%d" % rank)} for rank in range(top - 1)
    ]
    return {**alternatives[0], "top_logprobs": alternatives[:top]}


def completion_logprobs(texts: tuple[str, ...], top: int) -> Json:
    """The older form, of completions."""
    offsets = [sum(map(len, texts[:at])) for at in range(len(texts))]
    likeliest = [{text: -0.125, **{f"other{rank}": -2.0 - rank for rank in range(top - 1)}} for text in texts]
    return {
        "text_offset": offsets,
        "token_logprobs": [-0.125] * len(texts),
        "tokens": list(texts),
        "top_logprobs": likeliest,
    }


@dataclass(frozen=True, kw_only=True)
class OpenAIShape:
    """What streams of chat and of completions share.

    Attributes:
        id: what answers are called.
        streamed: keys at the top of every chunk.
        last: further keys at the top of the chunk that ends a choice, unless one with the usage follows.
        streamed_choice: keys of every choice in a stream, after its text.
        stop_key: where an ended choice says which stop string ended it, or which token: `end_token`.
        finish_apart: a choice ends in a chunk of its own, without text.
        choice: keys of a choice in a plain answer.
        whole_extra: keys at the top of a plain answer, and `counted_extra` those that depend on what is said.
        usage_extra: keys of the usage beside its counts; `streamed_usage_extra` in streams, where it differs.
        usage_tail: keys of the usage chunk, after its usage.
        null_usage: all other chunks say `"usage":null` once usage was asked for.
    """

    chunk_kind: ClassVar[str]
    model: str
    id: str
    streamed: Json = field(default_factory=dict)
    last: Json = field(default_factory=dict)
    streamed_choice: Json = field(default_factory=dict)
    stop_key: str | None = None
    end_token: int | None = None
    finish_apart: bool = False
    choice: Json = field(default_factory=dict)
    whole_extra: Json = field(default_factory=dict)
    counted_extra: Callable[[Turn], Json] | None = None
    usage_extra: Json = field(default_factory=dict)
    streamed_usage_extra: Json | None = None
    usage_tail: Json = field(default_factory=dict)
    null_usage: bool = False

    @property
    def opening(self) -> int:
        """Chunks before the first text."""
        return 0

    def whole(self, turn: Turn, asked: Asked) -> bytes:
        """The body of a plain answer."""
        raise NotImplementedError

    def events(self, turn: Turn, asked: Asked) -> list[bytes]:
        """Every event of a stream."""
        raise NotImplementedError

    def usage(self, turn: Turn, count: int = 1, *, streamed: bool = False) -> Json:
        """The usage of an answer with so many choices."""
        extra = self.usage_extra if not streamed or self.streamed_usage_extra is None else self.streamed_usage_extra
        completion = turn.completion_tokens * count
        total = {"prompt_tokens": turn.prompt_tokens, "total_tokens": turn.prompt_tokens + completion}
        return {**total, "completion_tokens": completion, **extra}

    def stopped(self, turn: Turn, *, streamed: bool = True) -> Json:
        """What a choice says of what ended it. A plain answer with calls says nothing, where a stream does."""
        if self.stop_key is None:
            return {}
        ended = turn.finish == "stop" or (streamed and turn.finish == "tool_calls")
        return {self.stop_key: turn.stopped_by or (self.end_token if ended else None)}

    def envelope(self, kind: str, choices: list[Json]) -> Json:
        """What every answer and every chunk begins with."""
        return {"id": self.id, "object": kind, "created": CREATED, "model": self.model, "choices": choices}

    def usage_event(self, turn: Turn, count: int = 1) -> bytes:
        """The chunk with the usage."""
        usage = self.usage(turn, count, streamed=True)
        return sse({**self.envelope(self.chunk_kind, []), "usage": usage, **self.usage_tail})

    def tail(self, turn: Turn, asked: Asked) -> list[bytes]:
        """The usage chunk if it was asked for, and the end."""
        return [self.usage_event(turn, asked.count), DONE] if asked.wants_usage else [DONE]
