"""Builds every answer's bytes once at start, in vLLM's shapes; it knows no connection and no fault."""

from dataclasses import dataclass

import msgspec

CREATED = 1_760_000_000
PROMPT_TOKENS = 118
SENTENCE = (
    "A mixture-of-experts model has a gate that sends each token to the expert that should serve it; "
    "this answer is always the same, so that a reader can compare it byte by byte."
)
WORDS = tuple(f" {word}" for word in SENTENCE.split())
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"
SSE_TYPE = b"text/event-stream; charset=utf-8"
STAMP_DIGITS = 20
# A placeholder as long as what replaces it, so that the chunk's size line can be built beforehand.
STAMP_PLACEHOLDER = "@" + "7" * STAMP_DIGITS + "@"

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


class StreamOptions(msgspec.Struct):
    """The one stream option that changes an answer."""

    include_usage: bool = False


class Peek(msgspec.Struct):
    """The fields of a request that choose the answer; msgspec skips all others without building them."""

    model: str = ""
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """True when the client asked for the usage chunk of a stream."""
        return self.stream_options is not None and self.stream_options.include_usage


def head(status: int, content_type: bytes, length: int | None, extra: bytes = b"") -> bytes:
    """A response head; without a length the body is chunked, as vLLM's streams are."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"HTTP/1.1 %d %s\r\nserver: uvicorn\r\ncontent-type: %s\r\n%s%s\r\n\r\n" % (
        status,
        REASONS.get(status, b"Unknown"),
        content_type,
        extra,
        framing,
    )


def json_response(status: int, payload: object, extra: bytes = b"") -> bytes:
    """Head and body of a JSON answer in one piece."""
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    return head(status, b"application/json", len(body), extra) + body


def error_body(status: int, message: str, kind: str, param: str | None = None) -> bytes:
    """VLLM's nested error."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": status}})


def flat_error_body(status: int, message: str, kind: str) -> bytes:
    """SGLang's flat error."""
    return msgspec.json.encode(
        {"object": "error", "message": message, "type": kind, "param": None, "code": status},
    )


def http_chunk(payload: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def sse(payload: object) -> bytes:
    """One event, unframed."""
    return b"data: " + (payload if isinstance(payload, bytes) else msgspec.json.encode(payload)) + b"\n\n"


def usage(completion_tokens: int) -> dict[str, object]:
    """The usage object of every answer."""
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "total_tokens": PROMPT_TOKENS + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": None,
    }


@dataclass(frozen=True)
class Dialect:
    """The shapes of one operation: chat or plain completion."""

    model: str
    chat: bool

    @property
    def _id(self) -> str:
        return "chatcmpl-8d2f6c1e4b7a49f0a3c5e7d9b1f2a4c6" if self.chat else "cmpl-8d2f6c1e4b7a49f0a3c5e7d9b1f2a4c6"

    def chunk(self, text: str, finish: str | None = None, *, first: bool = False) -> bytes:
        """One streamed event."""
        piece: dict[str, object]
        if self.chat:
            delta = {"role": "assistant", "content": ""} if first else {"content": text}
            piece = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        else:
            piece = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        if finish is not None:
            piece["stop_reason"] = None
        return sse(self._envelope([piece], streamed=True))

    def usage_chunk(self, completion_tokens: int) -> bytes:
        """The event before [DONE] when usage was asked for."""
        return sse({**self._envelope([], streamed=True), "usage": usage(completion_tokens)})

    def whole(self, text: str = SENTENCE, finish: str = "stop", *, with_usage: bool = True) -> bytes:
        """The body of a non-streamed answer."""
        choice: dict[str, object] = {"index": 0}
        if self.chat:
            nothing = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
            choice["message"] = {"role": "assistant", "content": text, **nothing}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": finish, "stop_reason": None, "token_ids": None}
        counts = {"usage": usage(len(WORDS))} if with_usage else {}
        tail = {"prompt_logprobs": None, "prompt_token_ids": None, "kv_transfer_params": None}
        return msgspec.json.encode({**self._envelope([choice], streamed=False), **counts, **tail})

    def events(self, peek: Peek, default_count: int) -> list[bytes]:
        """Every event of the stream this request gets, in order and without pacing."""
        count, finish = content_count(peek, default_count)
        events = [self.chunk("", first=True)] if self.chat else []
        events += [self.chunk(WORDS[index % len(WORDS)]) for index in range(count - 1)]
        events.append(self.chunk(WORDS[(count - 1) % len(WORDS)], finish))
        if peek.wants_usage:
            events.append(self.usage_chunk(count))
        return [*events, DONE]

    def _envelope(self, choices: list[dict[str, object]], *, streamed: bool) -> dict[str, object]:
        kind = ("chat.completion" if self.chat else "text_completion") + (".chunk" if streamed and self.chat else "")
        return {"id": self._id, "object": kind, "created": CREATED, "model": self.model, "choices": choices}


def content_count(peek: Peek, default_count: int) -> tuple[int, str]:
    """How many content chunks to send and why they stop."""
    asked = peek.max_tokens if peek.max_tokens is not None else peek.max_completion_tokens
    return (default_count, "stop") if asked is None else (max(1, asked), "length")


class Prebuilt:
    """The bytes of the fast way for one dialect."""

    def __init__(self, dialect: Dialect, *, timestamps: bool) -> None:
        """Build all of them; nothing is formatted per chunk but the time stamp."""
        self.dialect = dialect
        self.whole = json_response(200, dialect.whole())
        opening = http_chunk(dialect.chunk("", first=True)) if dialect.chat else b""
        self.stream_open = head(200, SSE_TYPE, None) + opening
        self.stamped = self._template(None) if timestamps else None
        self.stamped_last = {finish: self._template(finish) for finish in ("stop", "length")} if timestamps else {}
        self.words = [http_chunk(dialect.chunk(word)) for word in WORDS]
        self.last = {finish: http_chunk(dialect.chunk(WORDS[-1], finish)) for finish in ("stop", "length")}
        self.done = http_chunk(DONE) + END

    def tail(self, count: int, *, with_usage: bool) -> bytes:
        """What follows the last content chunk."""
        return (http_chunk(self.dialect.usage_chunk(count)) if with_usage else b"") + self.done

    def _template(self, finish: str | None) -> bytes:
        framed = http_chunk(self.dialect.chunk(STAMP_PLACEHOLDER, finish)).replace(b"%", b"%%")
        return framed.replace(STAMP_PLACEHOLDER.encode(), b"@%%0%dd@" % STAMP_DIGITS)
