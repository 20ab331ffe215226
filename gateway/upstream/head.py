"""Writes the head of a request and refuses what would let a caller's text become another request; no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NewType

Headers = Sequence[tuple[bytes, bytes]]

HeaderBlock = NewType("HeaderBlock", bytes)
"""Header lines already checked and encoded, each led by its line break; only `encode_headers` makes one."""

EMPTY_BLOCK: Final = HeaderBlock(b"")

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(rb"[/*][!-~\x80-\xff]*")

# The pool writes these itself: a second one would change where the engine thinks that the request ends.
_OURS: Final = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding"})

# A body goes with these even when it is empty (RFC 9110, 8.6).
_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})


def encode_headers(headers: Headers) -> HeaderBlock:
    """Check and encode header lines; do it once for those that every call to a replica carries.

    Raises:
        ValueError: a name is no token or is one that the pool writes, or a value holds CR, LF or NUL.
    """
    if not headers:
        return EMPTY_BLOCK
    parts: list[bytes] = []
    for name, value in headers:
        parts.append(_line_start(name))
        parts.append(value)
    block = b"".join(parts)
    # One line break a header is ours; any CR, LF or NUL beyond that came with a value. One pass in C over the whole
    # block beats looking at every value.
    if len(block.translate(None, b"\r\n\0")) != len(block) - 2 * len(headers):
        raise ValueError("a header value must not contain CR, LF or NUL")
    return HeaderBlock(block)


def request_head(method: bytes, target: bytes, host: bytes, fields: bytes, body_bytes: int) -> bytes:
    """The head of one request, blank line included.

    Args:
        method: an HTTP method, a token.
        target: the path with its query, in origin form.
        host: the value of the Host header.
        fields: encoded header lines.
        body_bytes: how long the body is; becomes Content-Length.

    Raises:
        ValueError: the method or the target would break the request line.
    """
    line = _request_line(method, target)
    if body_bytes or method in _WITH_BODY:
        return b"%b%b%b\r\nContent-Length: %d\r\n\r\n" % (line, host, fields, body_bytes)
    return b"%b%b%b\r\n\r\n" % (line, host, fields)


# Names, methods and targets come from small sets, so each is checked once and then looked up. A lookup that raises is
# not remembered.
@lru_cache(maxsize=512)
def _line_start(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header name must be a token")
    if name.lower() in _OURS:
        raise ValueError(f"the connection pool writes the header {name.decode()} itself")
    return b"\r\n%b: " % name


@lru_cache(maxsize=512)
def _request_line(method: bytes, target: bytes) -> bytes:
    if not _TOKEN.fullmatch(method) or method == b"CONNECT":
        raise ValueError("not a method that an engine is called with")
    if not _TARGET.fullmatch(target):
        raise ValueError("the request target must be a path without spaces or control characters")
    return b"%b %b HTTP/1.1\r\nHost: " % (method, target)
