"""Well-formed responses of every shape an engine may choose, each with what a client has to make of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sample:
    """Attributes:
    name: for test ids.
    wire: the bytes an engine sends.
    body: what they mean.
    keep_alive: whether the connection can serve another call after it.
    until_close: only the close ends the body.
    """

    name: str
    wire: bytes
    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    keep_alive: bool = True
    until_close: bool = False


CHUNKED = (b"transfer-encoding", b"chunked")

SAMPLES = [
    Sample(
        "length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Mixed-Case: Yes\r\n\r\nhello",
        200,
        b"hello",
        [(b"content-length", b"5"), (b"x-mixed-case", b"Yes")],
    ),
    Sample("no_body", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b"", [(b"content-length", b"0")]),
    Sample("no_reason", b"HTTP/1.1 404 \r\ncontent-length: 2\r\n\r\nno", 404, b"no", [(b"content-length", b"2")]),
    Sample(
        "chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
        200,
        b"hello, world",
        [CHUNKED],
    ),
    Sample(
        "chunk_extensions",
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n',
        200,
        b"hello",
        [(b"transfer-encoding", b"Chunked")],
    ),
    Sample(
        "trailers",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00a\r\n0123456789\r\n0\r\nX-Sum: 9\r\nX-B: c\r\n\r\n",
        200,
        b"0123456789",
        [CHUNKED],
    ),
    Sample(
        "interim",
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
        201,
        b"ok",
        [(b"content-length", b"2")],
    ),
    Sample("status_204", b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", 204, b"", [(b"x", b"y")]),
    Sample(
        "status_304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", [(b"content-length", b"9")]
    ),
    Sample(
        "connection_close",
        b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy",
        503,
        b"busy",
        [(b"connection", b"close"), (b"content-length", b"4")],
        keep_alive=False,
    ),
    Sample(
        "http_1_0",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
        200,
        b"old",
        [(b"content-length", b"3")],
        keep_alive=False,
    ),
    Sample(
        "http_1_0_kept",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold",
        200,
        b"old",
        [(b"connection", b"keep-alive"), (b"content-length", b"3")],
    ),
    Sample(
        "http_1_0_chunked",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nold\r\n0\r\n\r\n",
        200,
        b"old",
        [(b"connection", b"keep-alive"), CHUNKED],
        keep_alive=False,
    ),
    Sample(
        "until_close",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall there is",
        200,
        b"all there is",
        [(b"content-type", b"text/plain")],
        keep_alive=False,
        until_close=True,
    ),
    Sample(
        "repeated_and_empty_headers",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Empty:\r\nContent-Length: 1\r\n\r\n!",
        200,
        b"!",
        [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-empty", b""), (b"content-length", b"1")],
    ),
]

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":" token"}}]}\n\n'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
