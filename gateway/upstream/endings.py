"""Says what it means for a call that its engine's end has closed; reads what the engine said before, if that is left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamUnreachable

if TYPE_CHECKING:
    import asyncio

    from gateway.upstream.parser import ResponseParser

_READ_BYTES: Final = 64 * 1024


def closed_by_peer(
    label: str, parser: ResponseParser, transport: asyncio.Transport | None, failure: Exception | None
) -> UpstreamError:
    """Feed the end to the parser and name it.

    Args:
        label: `host:port`.
        parser: of the connection; may be complete afterwards, in which case the answer is good.
        transport: None if there never was one.
        failure: why the socket broke; None if it was closed in good order.
    """
    if failure is not None and transport is not None and not parser.complete:
        _hear_last_words(parser, transport)
    if parser.complete or parser.untouched:
        return UpstreamUnreachable(f"{label}: closed the connection before it answered")
    if failure is not None:
        return UpstreamBroken(f"{label}: the connection broke in the middle of a response")
    try:
        parser.feed_eof()
    except UpstreamBroken as error:
        return UpstreamBroken(f"{label}: {error.message}")
    return UpstreamUnreachable(f"{label}: closed the connection")


def _hear_last_words(parser: ResponseParser, transport: asyncio.Transport) -> None:
    """Read what the kernel still holds after a failed write.

    An engine that refuses a large request answers (413, 401) and closes with some of our bytes unread, which resets
    the connection: our next write fails while the answer lies in the receive buffer, and the event loop reports the
    failure without reading on. TLS keeps the rest in a state of its own, so there such an answer can be lost.
    """
    if transport.get_extra_info("ssl_object") is not None:
        return
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        while not parser.complete and (data := os.read(descriptor, _READ_BYTES)):
            parser.feed(data)
    except (OSError, UpstreamBroken):
        return  # Nothing more, or nothing of use: what was parsed until here decides.
