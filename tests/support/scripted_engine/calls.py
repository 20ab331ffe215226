"""Healthy answers that take time: a paced stream and a delayed whole answer; faults are scripted elsewhere."""

from time import monotonic_ns
from typing import TYPE_CHECKING

from tests.support.scripted_engine.answers import Peek, Prebuilt, content_count

if TYPE_CHECKING:
    from tests.support.scripted_engine.protocol import EngineProtocol


class DelayedAnswer:
    """A whole answer after a fixed time."""

    __slots__ = ("handle", "protocol")
    rid = ""
    stream = False

    def __init__(self, protocol: "EngineProtocol", answer: bytes, delay: float) -> None:
        """Start the clock."""
        self.protocol = protocol
        self.handle = protocol.engine.loop.call_later(delay, self.send, answer)

    def send(self, answer: bytes) -> None:
        """Answer."""
        self.protocol.transport.write(answer)
        self.protocol.end_call()

    def abort(self) -> None:
        """The client left."""
        self.handle.cancel()

    def resume(self) -> None:
        """Nothing was held."""


class PacedStream:
    """A stream on a fixed schedule: chunk n goes out at start + n intervals, however late the one before was."""

    __slots__ = ("chunks", "count", "finish", "handle", "held", "interval", "next_at", "protocol", "sent", "tail")
    rid = ""
    stream = True

    def __init__(self, protocol: "EngineProtocol", prebuilt: Prebuilt, peek: Peek) -> None:
        """Send the head at once and set the first chunk's time."""
        engine = protocol.engine
        self.protocol = protocol
        self.chunks = prebuilt.chunks[peek.wants_usage]
        self.count, self.finish = content_count(peek.limit, engine.default_chunks)
        self.tail = prebuilt.tail(self.count, with_usage=peek.wants_usage)
        self.interval = engine.interval
        self.sent = 0
        self.held = False
        protocol.transport.write(self.chunks.open)
        self.next_at = engine.loop.time() + engine.first_chunk_delay
        self.handle = engine.loop.call_at(self.next_at, self.tick)

    def tick(self) -> None:
        """Send one chunk and set the next one's time."""
        protocol = self.protocol
        if protocol.paused:
            self.held = True
            return
        self.sent += 1
        protocol.engine.state.chunks += 1
        chunks = self.chunks
        write = protocol.transport.write
        if self.sent >= self.count:
            if chunks.stamped_last:
                write(chunks.stamped_last[self.finish] % monotonic_ns())
            else:
                write(chunks.last[self.finish])
            write(self.tail)
            protocol.end_call()
            return
        if chunks.stamped is not None:
            write(chunks.stamped % monotonic_ns())
        else:
            write(chunks.words[(self.sent - 1) % len(chunks.words)])
        loop = protocol.engine.loop
        if self.interval:
            self.next_at += self.interval
            self.handle = loop.call_at(self.next_at, self.tick)
        else:
            # One chunk a turn, so that other connections get theirs in between; an interval cannot go below 1 ms.
            self.handle = loop.call_later(0, self.tick)

    def abort(self) -> None:
        """The client left."""
        self.handle.cancel()

    def resume(self) -> None:
        """The client reads again."""
        if self.held:
            self.held = False
            self.tick()
