"""Turns the bytes of one connection into responses, one at a time; sans-IO, and knows nothing of pools or timeouts.

llhttp (through httptools) does the parsing and refuses most malformed shapes. What it lets pass and we do not is
checked here: stacked transfer codings, switched protocols, statuses outside 100-599, and anything without bound.
"""

from __future__ import annotations

from typing import Final, NoReturn

import httptools

from gateway.errors import UpstreamBroken

_FIRST_STATUS: Final = 100
_SWITCHING_PROTOCOLS: Final = 101
_FIRST_FINAL_STATUS: Final = 200
_LAST_STATUS: Final = 599
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class _Stop(Exception):
    """Raised in a callback: llhttp must not parse on."""


class ResponseParser:
    """One connection's side of HTTP: `expect` a response, `feed` bytes, `take` body.

    The `on_*` methods are httptools' callbacks; nobody else calls them.

    Attributes:
        status: of the final response, once `head_complete`.
        headers: in the engine's order, names in lower case, once `head_complete`.
        head_complete: the final status line and headers are in.
        complete: nothing more belongs to this response; also true while none is expected.
        keep_alive: another request may follow on this connection once `complete`.
        buffered: bytes of body received and not yet taken.
        advanced: something a reader waits for has happened since it was last cleared: head, body or end.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_chunks",
        "_fault",
        "_interim",
        "_llhttp",
        "_max_head_bytes",
        "_overhead_bytes",
        "advanced",
        "buffered",
        "complete",
        "head_complete",
        "headers",
        "keep_alive",
        "status",
    )

    def __init__(self, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        # Holds our callbacks, and so us: a cycle, which `retire` cuts.
        self._llhttp: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._reset(bodiless=False)
        self.complete = True

    def _reset(self, *, bodiless: bool) -> None:
        self._bodiless = bodiless
        self._chunked = False
        self._fault = ""
        self._interim = False
        self._overhead_bytes = 0
        self.advanced = False
        self.buffered = 0
        self.complete = False
        self.head_complete = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive = False
        self.status = 0

    def expect(self, *, bodiless: bool = False) -> None:
        """A request goes out: its response comes next. `bodiless`: it answers HEAD, whatever its headers announce."""
        if self._chunks:
            self._chunks.clear()
        self._reset(bodiless=bodiless)

    def retire(self) -> None:
        """The connection is gone: let go of llhttp now rather than at the next garbage collection.

        What has been received can still be taken.
        """
        self._llhttp = None

    @property
    def untouched(self) -> bool:
        """Not a byte of the expected response has come."""
        return not (self._overhead_bytes or self.head_complete or self.complete)

    def feed(self, data: bytes) -> None:
        """Take what one read brought.

        A complete response stays good whatever follows it: the surplus only costs the connection its `keep_alive`.
        Whether the surplus came in the same read or a millisecond later is chance, and chance should not fail a call.

        Raises:
            UpstreamBroken: not HTTP, or HTTP with too much head.
        """
        if self._llhttp is None:
            return
        self._overhead_bytes += len(data)
        try:
            self._llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                # llhttp's reasons are fixed texts; nothing of the engine's is in them.
                raise UpstreamBroken(f"malformed response: {self._fault or error}") from None
            self.keep_alive = False
        if self._overhead_bytes > self._max_head_bytes and not self.complete:
            raise UpstreamBroken(f"more than {self._max_head_bytes} bytes of response head, or of framing between data")

    def feed_eof(self) -> None:
        """The engine closed its side in good order.

        Raises:
            UpstreamBroken: in the middle of a response.
        """
        if self.complete:
            return
        if not self.head_complete:
            raise UpstreamBroken("closed in the middle of the response head")
        # With neither length nor chunks, the close is the end of the body.
        if any(name in _FRAMING for name, _ in self.headers):
            raise UpstreamBroken("closed in the middle of the response body")
        self.complete = True
        self.advanced = True

    def take(self) -> bytes:
        """All body received since the last call; b"" if there is none. One read's body comes as it was, uncopied."""
        chunks = self._chunks
        if not chunks:
            return b""
        self.buffered = 0
        if len(chunks) == 1:
            return chunks.pop()
        body = b"".join(chunks)
        chunks.clear()
        return body

    # httptools' callbacks, in the order in which they come

    def on_message_begin(self) -> None:
        """The first byte of a response, or of something after it."""
        if self.complete:
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the head, of an interim response's head, or a trailer."""
        if self.head_complete:
            return  # A trailer: the relay has sent its head already, so there is nowhere to put it.
        name = name.lower()
        if name == b"transfer-encoding":
            # llhttp reads "gzip, chunked" and even a second "chunked" as chunked, and anything else until close. A
            # hop in between that counts differently would see another response than we do.
            if self._chunked or value.lower() != b"chunked":
                self._refuse("a transfer coding other than one chunked")
            self._chunked = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The blank line; the framing is known from here."""
        llhttp = self._llhttp
        if llhttp is None:  # Never while llhttp calls; the type checker cannot know.
            return
        status = llhttp.get_status_code()
        if not _FIRST_FINAL_STATUS <= status <= _LAST_STATUS:
            self._begin_interim(status)
            return
        if self._overhead_bytes > self._max_head_bytes:
            self._refuse_long_head()
        self._overhead_bytes = 0
        self.status = status
        self.keep_alive = llhttp.should_keep_alive()
        if self._chunked and self.keep_alive and llhttp.get_http_version() == "1.0":
            self.keep_alive = False  # RFC 9112, 6.1: read it, but do not trust the framing for another one.
        self.head_complete = True
        self.advanced = True
        if self._bodiless:
            # llhttp would wait for the announced body and httptools has no way to tell it otherwise, so it stops
            # here, and the connection with it. HEAD is not on a call's way.
            self.complete = True
            raise _Stop

    def on_body(self, body: bytes) -> None:
        """Data of one read within one chunk: bytes that httptools has copied out of the read."""
        self._chunks.append(body)
        self.buffered += len(body)
        self._overhead_bytes = 0
        self.advanced = True

    def on_message_complete(self) -> None:
        """The end of a response or of an interim one."""
        if self._interim:
            self._interim = False
            self._chunked = False
            self.headers.clear()
            return
        self.complete = True
        self.advanced = True

    def _begin_interim(self, status: int) -> None:
        if status == _SWITCHING_PROTOCOLS:
            self._refuse("it switches protocols, which was not asked for")
        if not _FIRST_STATUS <= status < _FIRST_FINAL_STATUS:
            self._refuse("a status outside 100-599")
        self._interim = True

    def _refuse_long_head(self) -> None:
        """The reads that brought the head were longer than allowed; body may have come with them, so count exactly."""
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > self._max_head_bytes:
            self._refuse("the head is too long")

    def _refuse(self, fault: str) -> NoReturn:
        self._fault = fault
        raise _Stop
