"""One connection to an engine: socket events in, at most one waiting task out; pooling and retries are not its business."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, Protocol, cast

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.parser import ResponseParser

if TYPE_CHECKING:
    from gateway.upstream.origin import Limits
    from gateway.upstream.roster import Lane

# Up to here, joining head and body into one buffer is cheaper than a second iovec.
_JOINED_BYTES: Final = 16 * 1024
# Above here the body goes out in slices as the engine reads it: the transport never holds a second copy of a large
# prompt, and an engine that refuses it early is not sent the rest.
_SLICE_BYTES: Final = 256 * 1024


class Keeper(Protocol):
    """Who is told what becomes of a connection; each call comes once at most."""

    def connection_gone(self, connection: Connection) -> None:
        """Not usable from here on; its received bytes can still be read. Comes even if it never opened."""

    def connection_closed(self, connection: Connection) -> None:
        """The event loop is done with the socket."""


class Connection(asyncio.Protocol):
    """A socket, a parser, and a future while somebody waits.

    Attributes:
        lane: the origin's record that this connection counts in.
        deadline: loop time in seconds; while waited on: when to give up; while idle: when to close.
        sweep_seconds: how often `expire` has to be called for the timeouts of the current call.
        error: why the connection is gone; None while it is usable.
    """

    __slots__ = (
        "_high_water_bytes",
        "_keeper",
        "_loop",
        "_parser",
        "_reading_paused",
        "_sent",
        "_transport",
        "_waiter",
        "_writing_paused",
        "deadline",
        "error",
        "lane",
        "sweep_seconds",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, lane: Lane, limits: Limits, keeper: Keeper) -> None:
        self._loop = loop
        self._keeper = keeper
        self._parser = ResponseParser(limits.max_header_bytes)
        self._high_water_bytes = limits.high_water_bytes
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._sent = True
        self.lane = lane
        self.deadline = 0.0
        self.sweep_seconds = 1.0
        self.error: UpstreamError | None = None

    # The caller's side

    async def request(self, head: bytes, body: bytes, seconds: float, *, bodiless: bool) -> None:
        """Send a request and wait until the head of its response is in; the connection is gone if that fails.

        Args:
            head: request line and headers, blank line included.
            body: may be empty.
            seconds: the first-byte timeout.
            bodiless: the response has no body whatever its headers say (HEAD).

        Raises:
            UpstreamUnreachable: the connection died before a byte of the response came.
            UpstreamTimeout: the head was not complete in time.
            UpstreamBroken: the response is malformed or cut short.
        """
        transport, parser = self._transport, self._parser
        if self.error is not None or transport is None:
            raise self.error or UpstreamUnreachable(f"{self.lane.label}: not connected")
        parser.expect(bodiless=bodiless)
        try:
            if len(body) <= _JOINED_BYTES:
                transport.write(head + body)
            elif len(body) <= _SLICE_BYTES:
                transport.writelines((head, body))
            else:
                await self._upload(transport, head, body, seconds)
            while not parser.head_complete:
                if self.error is not None:
                    raise self.error
                await self.wait(seconds)
        except BaseException:
            self.abort()
            raise

    def wait(self, seconds: float) -> asyncio.Future[None]:
        """A future that is done as soon as something has advanced: head, body, end, room to write, or failure.

        One task at a time. Cancelling the future leaves nothing behind.
        """
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("another task is already waiting for this response")
        self._parser.advanced = False
        self.deadline = self._loop.time() + seconds
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def take(self) -> bytes:
        """The body received since the last call, b"" if none; lets the engine go on if it was held back."""
        if self._reading_paused:
            self._reading_paused = False
            if self._transport is not None and self.error is None:
                self._transport.resume_reading()
        return self._parser.take()

    def finished(self) -> bool:
        """Whether the response is complete, once all of it has been taken.

        Raises:
            UpstreamError: it never will be.
        """
        if self._parser.complete:
            return True
        if self.error is not None:
            raise self.error
        return False

    @property
    def status(self) -> int:
        return self._parser.status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return self._parser.headers

    @property
    def reusable(self) -> bool:
        """Another request may follow: both sides are through with this one and neither wants to close."""
        parser, transport = self._parser, self._transport
        return (
            self.error is None
            and parser.complete
            and parser.keep_alive
            and self._sent
            and transport is not None
            # Early answers: the engine is done, but some of our request still waits to be written.
            and transport.get_write_buffer_size() == 0
        )

    def abort(self) -> None:
        """Close the socket at once: this is how an engine learns that nobody waits for its answer."""
        if self.error is None:
            self._end(UpstreamBroken(f"{self.lane.label}: given up by the gateway"))

    def expire(self, now: float) -> None:
        """Fail the waiting task if its deadline has passed; without one there is no deadline."""
        if now < self.deadline or self._waiter is None or self._waiter.done():
            return
        if self._parser.head_complete:
            self._end(UpstreamTimeout(f"{self.lane.label}: no more of the response within the idle timeout"))
        else:
            self._end(UpstreamTimeout(f"{self.lane.label}: no response within the first-byte timeout"))

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, so a cast and not an isinstance.
        self._transport = cast("asyncio.Transport", transport)
        if self.error is not None:  # Given up while it was being made.
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser.complete:
            self._end(UpstreamBroken(f"{self.lane.label}: sent bytes that belong to no request"))
            return
        try:
            parser.feed(data)
        except UpstreamBroken as error:
            self._end(UpstreamBroken(f"{self.lane.label}: {error.message}"))
            return
        if parser.advanced:
            if self._waiter is not None:
                self._wake()
            elif parser.buffered > self._high_water_bytes and not parser.complete:
                self._hold_back()

    def eof_received(self) -> None:
        self._peer_closed(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_closed(exc)
        self._keeper.connection_closed(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    # Between the two

    async def _upload(self, transport: asyncio.Transport, head: bytes, body: bytes, seconds: float) -> None:
        """Send a large body slice by slice, each once the one before is on its way; stop when an answer comes first."""
        self._sent = False
        transport.write(head)
        rest = memoryview(body)
        while rest:
            while self._writing_paused:
                await self.wait(seconds)
                if self.error is not None or self._parser.head_complete:
                    return
            transport.write(rest[:_SLICE_BYTES])
            rest = rest[_SLICE_BYTES:]
        self._sent = True

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _hold_back(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _peer_closed(self, exc: Exception | None) -> None:
        if self.error is not None:
            return
        label, parser = self.lane.label, self._parser
        if exc is not None and not parser.complete:
            self._hear_last_words()
        if parser.complete or parser.untouched:
            self._end(UpstreamUnreachable(f"{label}: closed the connection before it answered"))
        elif exc is not None:
            self._end(UpstreamBroken(f"{label}: the connection broke in the middle of a response"))
        else:
            try:
                parser.feed_eof()
            except UpstreamBroken as error:
                self._end(UpstreamBroken(f"{label}: {error.message}"))
            else:
                self._end(UpstreamUnreachable(f"{label}: closed the connection"))

    def _hear_last_words(self) -> None:
        """Read what the kernel still holds after a failed write.

        An engine that refuses a large request answers (413, 401) and closes with some of our bytes unread, which
        resets the connection: our next write fails while the answer lies in the receive buffer, and the event loop
        reports the failure without reading on. TLS has the rest in its own state, so there the answer is lost.
        """
        transport = self._transport
        if transport is None or transport.get_extra_info("ssl_object") is not None:
            return
        sock = transport.get_extra_info("socket")
        try:
            while not self._parser.complete and (data := os.read(sock.fileno(), self._high_water_bytes)):
                self._parser.feed(data)
        except (OSError, ValueError, UpstreamBroken):
            return  # Nothing more, or nothing of use: what was parsed until here decides.

    def _end(self, error: UpstreamError) -> None:
        if self.error is not None:
            return
        self.error = error
        self._parser.retire()
        if self._transport is not None:
            self._transport.abort()
        self._wake()
        self._keeper.connection_gone(self)
