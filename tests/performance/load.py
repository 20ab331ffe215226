"""Puts a measured load on one URL from a process of its own and prints one JSON object; it starts no server.

`calls`: C connections in a closed loop. `streams`: S paced streams, measured while all of them run. `cancels`: S paced
streams whose clients leave one by one.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import sys
from pathlib import Path
from time import monotonic, monotonic_ns, process_time_ns
from urllib.parse import urlsplit

import uvloop

from tests.performance.accounting import Watch, machine_cpu_ns, memory_bytes
from tests.performance.figures import summary_us
from tests.performance.load_cancels import run_cancels
from tests.performance.load_connections import CallConnection, Samples, StreamConnection
from tests.performance.load_requests import request_bytes, request_cycle

START_SECONDS = 30.0
END_SECONDS = 30.0
SETTLE_SECONDS = 0.5


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="load", description=__doc__)
    parser.add_argument("mode", choices=["calls", "streams", "cancels"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--header", action="append", default=[], help="`name: value`, repeatable")
    parser.add_argument("--keys", type=Path, help="a file with one key a line; each call takes the next one")
    parser.add_argument("--model", default="kimi-k2")
    parser.add_argument("--connections", type=int, default=32, help="connections, or streams")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the measured window")
    parser.add_argument("--warmup-seconds", type=float, default=1.0)
    parser.add_argument("--prompt-bytes", type=int, default=500)
    parser.add_argument("--chunk-interval-ms", type=float, default=50.0, help="the engine's, to ask for enough chunks")
    parser.add_argument("--watch", action="append", default=[], metavar="NAME=PID", help="CPU of this process tree")
    return parser.parse_args()


class Window:
    """What the watched processes, and this one, used between two moments."""

    def __init__(self, watches: list[Watch], samples: Samples) -> None:
        """Begin: forget the times of the warm-up and take the first sample."""
        self.watches = watches
        self.samples = samples
        samples.forget_times()
        self.completed, self.chunks, self.errors = samples.completed, samples.chunks, samples.errors
        self.machine_ns = machine_cpu_ns()
        self.wall_ns, self.own_ns = monotonic_ns(), process_time_ns()
        self.cpu_ns = [watch.cpu_ns() for watch in watches]

    def close(self) -> dict[str, object]:
        """End: take the second sample; everything costly comes after it."""
        cpu_ns = [watch.cpu_ns() for watch in self.watches]
        wall_ns, own_ns = monotonic_ns() - self.wall_ns, process_time_ns() - self.own_ns
        each = list(zip(self.watches, self.cpu_ns, cpu_ns, strict=True))
        others_ns = machine_cpu_ns() - self.machine_ns - own_ns
        # The engine is watched twice when it is the target itself.
        others_ns -= sum({watch.pids: after - before for watch, before, after in each}.values())
        samples = self.samples
        used = {
            watch.name: {
                "cpu_ns": after - before,
                "busy_share": round((after - before) / wall_ns, 3),
                "tree_complete": watch.complete(),
                **memory_bytes(watch.pids),
            }
            for watch, before, after in each
        }
        return {
            "window_seconds": wall_ns / 1e9,
            "completed": samples.completed - self.completed,
            "chunks": samples.chunks - self.chunks,
            "errors_in_window": samples.errors - self.errors,
            "generator_busy_share": round(own_ns / wall_ns, 3),
            "others_busy_share": round(max(0, others_ns) / wall_ns, 3),
            "watched": used,
            "latency_us": summary_us(samples.latency_ns),
            "first_chunk_us": summary_us(samples.first_chunk_ns),
            "chunk_delay_us": summary_us(samples.delay_ns),
        }


async def run_calls(options: argparse.Namespace, watches: list[Watch]) -> dict[str, object]:
    """Keep every connection busy, and measure a window in the middle."""
    loop = asyncio.get_running_loop()
    samples = Samples()
    url = urlsplit(options.url)
    requests = request_cycle(options)
    all_lost = asyncio.Event()
    connections: list[CallConnection] = []
    alive = options.connections

    def lost() -> None:
        nonlocal alive
        alive -= 1
        if alive == 0:
            all_lost.set()

    for _ in range(options.connections):
        _, connection = await loop.create_connection(
            lambda: CallConnection(requests, samples, lost), url.hostname, url.port
        )
        connections.append(connection)
    await asyncio.sleep(options.warmup_seconds)
    window = Window(watches, samples)
    with contextlib.suppress(TimeoutError):  # reaching the end of the window is the normal way out
        await asyncio.wait_for(all_lost.wait(), options.seconds)
    result = window.close()
    for connection in connections:
        connection.running = False
        connection.transport.close()
    return result | {"errors": samples.errors, "first_errors": samples.first_errors}


async def run_streams(options: argparse.Namespace, watches: list[Watch]) -> dict[str, object]:
    """Start the streams spread over one interval, measure while all run, and read each one to its end."""
    loop = asyncio.get_running_loop()
    samples = Samples()
    url = urlsplit(options.url)
    interval = options.chunk_interval_ms / 1000
    start_seconds = max(interval, options.connections * 0.002)
    chunks = int((start_seconds + SETTLE_SECONDS + options.warmup_seconds + options.seconds + 1.0) / interval)
    request = request_bytes(options, chunks=chunks)
    open_streams: set[StreamConnection] = set()
    all_started, all_ended = asyncio.Event(), asyncio.Event()

    def started_one() -> None:
        if len(samples.first_chunk_ns) == options.connections:
            all_started.set()

    def ended(stream: StreamConnection) -> None:
        open_streams.discard(stream)
        if not open_streams:
            all_started.set()  # none is left to wait for
            all_ended.set()

    begun = monotonic()
    for index in range(options.connections):
        # Spread evenly, so that the engine's own schedule does not send every stream's chunk at the same moment.
        await asyncio.sleep(max(0.0, begun + index * start_seconds / options.connections - monotonic()))
        _, stream = await loop.create_connection(
            lambda: StreamConnection(request, samples, started_one, ended), url.hostname, url.port
        )
        open_streams.add(stream)
    with contextlib.suppress(TimeoutError):  # those that did not start are counted below
        await asyncio.wait_for(all_started.wait(), START_SECONDS)
    started, first_chunk = len(samples.first_chunk_ns), summary_us(samples.first_chunk_ns)
    await asyncio.sleep(options.warmup_seconds)
    window = Window(watches, samples)
    await asyncio.sleep(options.seconds)
    still_open = len(open_streams)
    result = window.close()
    try:
        await asyncio.wait_for(all_ended.wait(), END_SECONDS)
    except TimeoutError:
        samples.error(f"{len(open_streams)} streams had not ended {END_SECONDS:.0f} s after the window")
    for stream in list(open_streams):
        stream.ended = None
        stream.transport.abort()
    missing = options.connections * chunks - samples.chunks
    return result | {
        "errors": samples.errors,
        "first_errors": samples.first_errors,
        "first_chunk_us": first_chunk,
        "streams_started": started,
        "streams_open_at_window_end": still_open,
        "streams_completed": samples.completed,
        "chunks_missing": missing,
    }


async def main(options: argparse.Namespace) -> dict[str, object]:
    """Run one load."""
    watches = [Watch.tree(name, int(pid)) for name, _, pid in (watch.partition("=") for watch in options.watch)]
    gc.collect()
    gc.freeze()
    gc.disable()  # a run is short and makes few cycles; a collection would show up as somebody's latency
    if options.mode == "cancels":
        return await run_cancels(options)
    run = run_calls if options.mode == "calls" else run_streams
    return await run(options, watches)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(main(arguments()))) + "\n")
