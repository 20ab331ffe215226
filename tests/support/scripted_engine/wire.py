"""Bytes of HTTP and of event streams; knows no engine and no answer."""

import json

import msgspec

DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"
SSE_TYPE = b"text/event-stream; charset=utf-8"
CREATED = 1_760_000_000

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


def head(status: int, content_type: bytes, length: int | None, extra: bytes = b"") -> bytes:
    """A response head; without a length the body is chunked, as engines' streams are."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"HTTP/1.1 %d %s\r\nserver: uvicorn\r\ncontent-type: %s\r\n%s%s\r\n\r\n" % (
        status,
        REASONS.get(status, b"Unknown"),
        content_type,
        extra,
        framing,
    )


def response(status: int, content_type: bytes, body: bytes, extra: bytes = b"") -> bytes:
    """Head and body in one piece."""
    return head(status, content_type, len(body), extra) + body


def json_response(status: int, payload: object, extra: bytes = b"") -> bytes:
    """Head and body of a JSON answer in one piece."""
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    return response(status, b"application/json", body, extra)


def text_response(text: str) -> bytes:
    """Head and body of a page of metrics."""
    return response(200, b"text/plain; version=0.0.4; charset=utf-8", text.encode())


def http_chunk(payload: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def sse(payload: object) -> bytes:
    """One event, unframed."""
    return b"data: " + (payload if isinstance(payload, bytes) else msgspec.json.encode(payload)) + b"\n\n"


def spaced_sse(payload: object) -> bytes:
    """One event with spaces in its JSON, as Python's own encoder writes it: engines' error events look like this."""
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def named_sse(payload: dict[str, object]) -> bytes:
    """One event that repeats its type as its name, as Anthropic and Responses streams do."""
    return b"event: %s\n" % str(payload["type"]).encode() + sse(payload)
