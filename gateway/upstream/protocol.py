"""One connection to an engine: socket events in, at most one waiting task out; pooling and retries are not its business."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.endings import closed_by_peer
from gateway.upstream.parser import ResponseParser

if TYPE_CHECKING:
    from gateway.upstream.origin import Limits
    from gateway.upstream.roster import Lane, Roster

# Takes a piece of a body; whether it will take the next one at once.
Sink = Callable[[bytes], bool]

# Up to here, joining head and body into one buffer is cheaper than a second iovec.
_JOINED_BYTES: Final = 16 * 1024
# Above here the body goes out in slices as the engine reads it: the transport never holds a second copy of a large
# prompt, and an engine that refuses it early is not sent the rest.
_SLICE_BYTES: Final = 256 * 1024


class Connection(asyncio.Protocol):
    """A socket, a parser, and a future while somebody waits.

    Attributes:
        lane: the origin's record that this connection counts in.
        deadline: loop time in seconds; while waited on: when to give up; while idle: when to close.
        sweep_seconds: how often `expire` has to be called for the timeouts of the current call.
        error: why the connection is gone; None while it is usable.
        parser: what has been received; read by the response, fed only here.
    """

    __slots__ = (
        "_high_water_bytes",
        "_idle_seconds",
        "_loop",
        "_reading_paused",
        "_roster",
        "_sent",
        "_sink",
        "_transport",
        "_waiter",
        "_writing_paused",
        "deadline",
        "error",
        "lane",
        "parser",
        "sweep_seconds",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, lane: Lane, limits: Limits, roster: Roster) -> None:
        self._loop = loop
        self._roster = roster
        self.parser = ResponseParser(limits.max_header_bytes)
        self._high_water_bytes = limits.high_water_bytes
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._idle_seconds = 0.0
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
        transport, parser = self._transport, self.parser
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
        self.parser.advanced = False
        self.deadline = self._loop.time() + seconds
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def pass_on(self, sink: Sink, seconds: float) -> asyncio.Future[None]:
        """Like `wait`, but body that comes meanwhile goes to `sink` in the same turn of the event loop: no task is woken for it.

        The future is done when the sink wants a pause, raises (the future does then too), or there will be no more to take.

        Args:
            sink: takes a piece.
            seconds: how long each piece may take.
        """
        waiter = self.wait(seconds)
        self._sink, self._idle_seconds = sink, seconds
        return waiter

    def take(self) -> bytes:
        """The body received since the last call, b"" if none; lets the engine go on if it was held back."""
        if self._reading_paused:
            self._reading_paused = False
            if self._transport is not None and self.error is None:
                self._transport.resume_reading()
        return self.parser.take()

    def finished(self) -> bool:
        """Whether the response is complete, once all of it has been taken.

        Raises:
            UpstreamError: it never will be.
        """
        if self.parser.complete:
            return True
        if self.error is not None:
            raise self.error
        return False

    @property
    def reusable(self) -> bool:
        """Another request may follow: both sides are through with this one and neither wants to close."""
        parser, transport = self.parser, self._transport
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
        if self.parser.head_complete:
            self._end(UpstreamTimeout(f"{self.lane.label}: no more of the response in time"))
        else:
            self._end(UpstreamTimeout(f"{self.lane.label}: no response in time"))

    def overstay(self) -> None:
        """Give up a response that takes too long in all; what has come of it can still be taken."""
        if not self.parser.complete:
            self._end(UpstreamTimeout(f"{self.lane.label}: the response was not complete in time"))

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket (and TLS) is up."""
        # uvloop's transports are no subclasses of asyncio's, so a cast and not an isinstance.
        self._transport = cast("asyncio.Transport", transport)
        if self.error is not None:  # Given up while it was being made.
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """One read: one feed of the parser, and one wake-up if somebody waits for what it brought."""
        parser = self.parser
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
                if self._sink is None or not self._hand_over(self._sink, self._waiter):
                    self._wake()
            elif parser.buffered > self._high_water_bytes and not parser.complete:
                self._hold_back()

    def eof_received(self) -> None:
        """The engine closed its side in good order."""
        self._peer_closed(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: `exc` says why, if it broke."""
        self._peer_closed(exc)
        self._roster.connection_closed(self)

    def pause_writing(self) -> None:
        """The transport holds as much of the request as it should."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """The engine has read on."""
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
                if self.error is not None or self.parser.head_complete:
                    return
            transport.write(rest[:_SLICE_BYTES])
            rest = rest[_SLICE_BYTES:]
        self._sent = True

    def _hand_over(self, sink: Sink, waiter: asyncio.Future[None]) -> bool:
        """Give the sink what has come; whether to go on like this."""
        parser = self.parser
        if waiter.done():  # the task that waits is being cancelled: nobody is to get any more
            return False
        if parser.buffered:
            try:
                if not sink(parser.take()):
                    return False
            except Exception as error:  # noqa: BLE001 - it is the task's, whatever it is: here it would end in the loop's log
                waiter.set_exception(error)
                return False
        if parser.complete:
            return False
        parser.advanced = False
        self.deadline = self._loop.time() + self._idle_seconds
        return True

    def _wake(self) -> None:
        waiter, self._sink = self._waiter, None
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _hold_back(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _peer_closed(self, failure: Exception | None) -> None:
        if self.error is None:
            self._end(closed_by_peer(self.lane.label, self.parser, self._transport, failure))

    def _end(self, error: UpstreamError) -> None:
        if self.error is not None:
            return
        self.error = error
        self.parser.retire()
        if self._transport is not None:
            self._transport.abort()
        self._wake()
        self._roster.connection_gone(self)
