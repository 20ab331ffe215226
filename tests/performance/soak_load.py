"""Keeps streams and calls running on a gateway for a while and looks at it once a second; it judges nothing."""

import argparse
import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from tests.performance.load_connections import CallConnection, Samples, StreamConnection
from tests.performance.load_requests import request_bytes
from tests.performance.remains import Remains, look
from tests.performance.targets import Target

CANCEL_EVERY = 8
CALL_CONNECTIONS = 4
QUIET_SECONDS = 20.0
PROGRESS_SECONDS = 10


@dataclass
class Soak:
    """The load, and what was seen while it ran."""

    options: argparse.Namespace
    progress: Callable[[str], None]
    target: Target
    samples: Samples = field(default_factory=Samples)
    started: int = 0
    cancelled: int = 0
    open_streams: set[StreamConnection] = field(default_factory=set)
    memory: list[tuple[float, Remains]] = field(default_factory=list)
    running: bool = True
    all_ended: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def hold(self) -> None:
        """Keep the streams up until the time is over, and look once a second."""
        loop = asyncio.get_running_loop()
        host, port = self.target.address
        requests = itertools.repeat(request_bytes(self.options))
        calls = []
        for _ in range(CALL_CONNECTIONS):
            _, call = await loop.create_connection(
                lambda: CallConnection(requests, self.samples, lambda: None), host, port
            )
            calls.append(call)
        for _ in range(self.options.streams):
            self.open_one()
        begun = monotonic()
        seconds = self.options.minutes * 60
        while (elapsed := monotonic() - begun) < seconds:
            self.memory.append((elapsed, look(self.target.pid, port)))
            if int(elapsed) % PROGRESS_SECONDS == 0:
                self.progress(
                    f"{elapsed:3.0f} s: {self.memory[-1][1].text()}, {self.samples.completed:,} calls completed"
                )
            await asyncio.sleep(1.0)
        self.running = False
        for call in calls:
            call.running = False  # it closes after the answer it waits for
        with contextlib.suppress(TimeoutError):  # what has not ended by then is found when we look for remains
            await asyncio.wait_for(self.all_ended.wait(), QUIET_SECONDS)

    def open_one(self) -> None:
        """Start one stream; the next one follows when it ends."""
        task = asyncio.get_running_loop().create_task(self._open())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self.target.address
        request = request_bytes(self.options, chunks=self.options.chunks)
        try:
            _, stream = await loop.create_connection(
                lambda: StreamConnection(request, self.samples, lambda: None, self.ended), host, port
            )
        except OSError as error:
            self.samples.error(f"connect: {error}")
            return
        self.open_streams.add(stream)
        self.started += 1
        if self.started % CANCEL_EVERY == 0:
            half = self.options.chunks * self.options.chunk_interval_ms / 2000
            loop.call_later(half, self.cancel, stream)

    def ended(self, stream: StreamConnection) -> None:
        """Go on with the next stream while time is left."""
        self.open_streams.discard(stream)
        if self.running:
            self.open_one()
        elif not self.open_streams:
            self.all_ended.set()

    def cancel(self, stream: StreamConnection) -> None:
        """Close a stream as a client that left."""
        if stream.ended is not None:
            stream.ended = None
            self.cancelled += 1
            stream.transport.abort()
            self.ended(stream)
