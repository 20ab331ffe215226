"""Builds the bytes of the answer that never changes once at start, for one operation of one dialect; knows no fault."""

from dataclasses import replace

import msgspec

from tests.support.scripted_engine.asked import Asked, Operation
from tests.support.scripted_engine.dialects.shape import OpenAIShape
from tests.support.scripted_engine.turns import PROMPT_TOKENS, SENTENCE, WORDS, Turn, canned
from tests.support.scripted_engine.wire import DONE, END, SSE_TYPE, head, http_chunk, json_response

__all__ = ["PROMPT_TOKENS", "SENTENCE", "WORDS", "Peek", "Prebuilt", "content_count"]

STAMP_DIGITS = 20
# A placeholder as long as what replaces it, so that the chunk's size line can be built beforehand.
STAMP_PLACEHOLDER = "@" + "7" * STAMP_DIGITS + "@"
WHOLE = Turn(content=(WORDS[0].lstrip(), *WORDS[1:]))


class StreamOptions(msgspec.Struct):
    """The one stream option that changes an answer."""

    include_usage: bool = False


class Peek(msgspec.Struct):
    """The fields of a request that choose the answer; msgspec skips all others without building them."""

    model: str = ""
    stream: bool | None = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream_options: StreamOptions | None = None

    @property
    def limit(self) -> int | None:
        """How many content chunks were asked for, if it was said."""
        return self.max_tokens if self.max_tokens is not None else self.max_completion_tokens

    @property
    def wants_usage(self) -> bool:
        """True when the client asked for the usage chunk of a stream."""
        return self.stream_options is not None and self.stream_options.include_usage


def content_count(limit: int | None, default_count: int) -> tuple[int, str]:
    """How many content chunks to send and why they stop."""
    return (default_count, "stop") if limit is None else (max(1, limit), "length")


class Chunks:
    """The framed chunks of a stream, cut out of what the shape itself writes."""

    def __init__(self, shape: OpenAIShape, asked: Asked, *, timestamps: bool) -> None:
        """Build all of them; nothing is formatted per chunk but the time stamp."""
        self._shape = shape
        self._asked = asked
        self._ends = 2 if asked.wants_usage else 1
        opening = self._events(WORDS[:2], "stop")[: shape.opening]
        self.open = head(200, SSE_TYPE, None) + b"".join(map(http_chunk, opening))
        self.words = [self._middle(word) for word in WORDS]
        self.last = {finish: self._last(WORDS[-1], finish) for finish in ("stop", "length")}
        self.stamped = _template(self._middle(STAMP_PLACEHOLDER)) if timestamps else None
        self.stamped_last = (
            {finish: _template(self._last(STAMP_PLACEHOLDER, finish)) for finish in self.last} if timestamps else {}
        )

    def _events(self, texts: tuple[str, ...], finish: str) -> list[bytes]:
        return self._shape.events(Turn(content=texts, finish=finish), self._asked)

    def _middle(self, text: str) -> bytes:
        return http_chunk(self._events((text, "x"), "stop")[self._shape.opening])

    def _last(self, text: str, finish: str) -> bytes:
        """The chunk or chunks of the last word and of the finish."""
        return b"".join(map(http_chunk, self._events((text,), finish)[self._shape.opening : -self._ends]))


class Prebuilt:
    """The bytes of the fast way for one operation."""

    def __init__(self, shape: OpenAIShape, operation: Operation, *, timestamps: bool) -> None:
        """Build them, for streams with and without usage."""
        plain = Asked(operation=operation)
        self.shape = shape
        self.whole = json_response(200, shape.whole(WHOLE, plain))
        self.chunks = {
            counted: Chunks(shape, replace(plain, wants_usage=counted), timestamps=timestamps)
            for counted in (False, True)
        }
        self.done = http_chunk(DONE) + END

    def tail(self, count: int, *, with_usage: bool) -> bytes:
        """What follows the last content chunk."""
        return (http_chunk(self.shape.usage_event(canned(count, "stop"))) if with_usage else b"") + self.done


def _template(framed: bytes) -> bytes:
    return framed.replace(b"%", b"%%").replace(STAMP_PLACEHOLDER.encode(), b"@%%0%dd@" % STAMP_DIGITS)
