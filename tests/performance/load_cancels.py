"""Holds paced streams and lets one client after the other leave, noting when; when the engine saw it is asked elsewhere."""

import argparse
import asyncio
import contextlib
import random
from collections import OrderedDict
from time import monotonic, monotonic_ns
from urllib.parse import urlsplit

from tests.performance.load_connections import Samples, StreamConnection
from tests.performance.load_requests import request_bytes

START_SECONDS = 30.0
# How long a client stays on average. A stream is much longer, so that none ends while the engine should see it cut off.
STAY_SECONDS = 4.0
SPARE_SECONDS = 8.0
SEED = 21


class Leavers:
    """Streams by the order in which they began, and the moments at which clients left."""

    def __init__(self, options: argparse.Namespace) -> None:
        """No stream yet; names are unlike those of any other run on the same engine."""
        self.options = options
        self.samples = Samples()
        self.named = monotonic_ns()
        self.streams: OrderedDict[int, StreamConnection] = OrderedDict()
        self.closed: dict[int, int] = {}
        self.chunks = int((STAY_SECONDS * 2 + SPARE_SECONDS) * 1000 / options.chunk_interval_ms)
        self.all_started = asyncio.Event()

    async def open_one(self) -> None:
        """Begin one stream under a name of its own."""
        self.named += 1
        name = self.named
        request = request_bytes(self.options, chunks=self.chunks, client=name)
        url = urlsplit(self.options.url)
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: StreamConnection(request, self.samples, self.started, lambda _: self.lost(name)),
            url.hostname,
            url.port,
        )
        self.streams[name] = stream

    def started(self) -> None:
        """Tell when all streams of the beginning run."""
        if len(self.samples.first_chunk_ns) >= self.options.connections:
            self.all_started.set()

    def lost(self, name: int) -> None:
        """A stream ended though its client had not left."""
        self.samples.error(f"the stream of client {name} ended by itself")
        self.streams.pop(name, None)
        if self.samples.errors >= self.options.connections:
            self.all_started.set()  # there is nobody to wait for

    def close_oldest(self) -> None:
        """The client that stayed longest leaves, in the middle of its answer."""
        found = next(((name, each) for name, each in self.streams.items() if each.seen), None)
        if found is None:
            return
        name, stream = found
        del self.streams[name]
        stream.ended = None
        self.closed[name] = monotonic_ns()
        stream.transport.close()

    def forget(self) -> None:
        """Close what is left, which counts nowhere."""
        for stream in self.streams.values():
            stream.ended = None
            stream.transport.abort()


async def run_cancels(options: argparse.Namespace) -> dict[str, object]:
    """Start the streams, then let clients leave at random moments; each one is replaced at once."""
    leavers = Leavers(options)
    gap = STAY_SECONDS / options.connections
    for _ in range(options.connections):
        await leavers.open_one()
        await asyncio.sleep(0.002)
    with contextlib.suppress(TimeoutError):  # those that did not start cannot leave, and are told
        await asyncio.wait_for(leavers.all_started.wait(), START_SECONDS)
    started = len(leavers.samples.first_chunk_ns)
    await asyncio.sleep(options.warmup_seconds)
    moments = random.Random(SEED)
    ends = monotonic() + options.seconds
    while monotonic() < ends:
        # Anywhere in a chunk's interval: a gateway that sees a leaver only when it writes would be flattered otherwise.
        await asyncio.sleep(moments.uniform(0.5, 1.5) * gap)
        leavers.close_oldest()
        await leavers.open_one()
    await asyncio.sleep(0.2)
    leavers.forget()
    samples = leavers.samples
    return {
        "closed": {str(name): moment for name, moment in leavers.closed.items()},
        "streams_started": started,
        "errors": samples.errors,
        "first_errors": samples.first_errors,
    }
