"""Speaks HTTP/1.1 as a client on raw connections and notes the times; it decides no load and prints nothing."""

import asyncio
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import cast

import httptools

OK = 200
STAMP = re.compile(rb"@(\d{20})@")
STAMP_LENGTH = 22
DONE = b"[DONE]"
KEPT_ERRORS = 5


@dataclass(slots=True)
class Samples:
    """What all connections of a run noted; arrays of ns, because lists of ints would grow the generator's memory."""

    completed: int = 0
    chunks: int = 0
    errors: int = 0
    first_errors: list[str] = field(default_factory=list)
    latency_ns: "array[int]" = field(default_factory=lambda: array("q"))
    first_chunk_ns: "array[int]" = field(default_factory=lambda: array("q"))
    delay_ns: "array[int]" = field(default_factory=lambda: array("q"))

    def error(self, text: str) -> None:
        """Count an error and keep the first few."""
        self.errors += 1
        if len(self.first_errors) < KEPT_ERRORS:
            self.first_errors.append(text)

    def forget_times(self) -> None:
        """Start the window: what came before was warm-up."""
        self.latency_ns = array("q")
        self.first_chunk_ns = array("q")
        self.delay_ns = array("q")


class CallConnection(asyncio.Protocol):
    """One keep-alive connection that sends the next call as soon as the last one is answered."""

    __slots__ = ("lost", "parser", "requests", "running", "samples", "sent_at", "transport")
    transport: asyncio.Transport

    def __init__(self, requests: Iterator[bytes], samples: Samples, lost: Callable[[], None]) -> None:
        """Wait for the connection; `lost` is told when it ends while it should run. Requests may be shared, and never end."""
        self.requests = requests
        self.samples = samples
        self.lost = lost
        self.running = True
        self.sent_at = 0
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first call."""
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        """Send one call."""
        request = next(self.requests)
        self.sent_at = monotonic_ns()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note the time and go on."""
        samples = self.samples
        samples.latency_ns.append(monotonic_ns() - self.sent_at)
        if self.parser.get_status_code() == OK:
            samples.completed += 1
        else:
            samples.error(f"status {self.parser.get_status_code()}")
        if not self.running:
            self.transport.close()
        elif self.parser.should_keep_alive():
            self.send()
        else:
            samples.error("the connection was not kept alive")
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report an end that nobody asked for."""
        if self.running:
            self.samples.error(f"connection lost: {exc}")
            self.lost()


class StreamConnection(asyncio.Protocol):
    """One connection that reads one stream to its end and then closes, or starts the next one."""

    __slots__ = (
        "arrived_at",
        "ended",
        "parser",
        "request",
        "samples",
        "seen",
        "sent_at",
        "started",
        "tail",
        "transport",
    )
    transport: asyncio.Transport

    def __init__(
        self,
        request: bytes,
        samples: Samples,
        started: Callable[[], None],
        ended: Callable[["StreamConnection"], None],
    ) -> None:
        """Wait for the connection; `started` is told of the first chunk, `ended` once, however the stream ends."""
        self.request = request
        self.samples = samples
        self.ended: Callable[[StreamConnection], None] | None = ended
        self.started = started
        self.seen = 0
        self.sent_at = 0
        self.arrived_at = 0
        self.tail = b""
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self.transport = cast("asyncio.Transport", transport)
        self.sent_at = monotonic_ns()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Note the time of arrival before anything is parsed."""
        self.arrived_at = monotonic_ns()
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Compare each chunk's own send time with its arrival."""
        samples = self.samples
        text = self.tail + body
        end = 0
        for found in STAMP.finditer(text):
            end = found.end()
            if not self.seen:
                samples.first_chunk_ns.append(self.arrived_at - self.sent_at)
                self.started()
            self.seen += 1
            samples.chunks += 1
            samples.delay_ns.append(self.arrived_at - int(found.group(1)))
        # A stamp may be cut in two by the framing; the end of the text is looked at again with what follows.
        self.tail = text[max(end, len(text) - STAMP_LENGTH) :]

    def on_message_complete(self) -> None:
        """Count a stream as complete only with 200 and [DONE]."""
        status = self.parser.get_status_code()
        if status == OK and DONE in self.tail:
            self.samples.completed += 1
        else:
            self.samples.error(f"status {status}, {self.seen} chunks, ended with {self.tail!r}")
        self.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report an end before the end."""
        if self.ended is not None:
            self.samples.error(f"connection lost after {self.seen} chunks: {exc}")
            self.finish()

    def finish(self) -> None:
        """Tell once."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(self)
            self.transport.close()
