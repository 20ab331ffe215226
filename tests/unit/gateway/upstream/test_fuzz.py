"""Random responses over real sockets: read as they would be unsplit, or one of three errors; never a hang, never a leak."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream import Limits, Timeouts
from tests.support.raw_server import Peer, raw_server
from tests.unit.gateway.upstream.calls import checked_pool, send
from tests.unit.gateway.upstream.samples import SAMPLES, Sample

# Real sockets and a real clock: fewer examples than without, and no deadline on a busy machine.
over_sockets = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

HASTY = Timeouts(connect_seconds=5.0, first_byte_seconds=0.02, idle_seconds=0.02)
PIECES = st.lists(st.integers(1, 40), max_size=20)


def cut(wire: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(wire[:size])
        wire = wire[size:]
    return [piece for piece in (*pieces, wire) if piece]


@over_sockets
@given(samples=st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=4), sizes=PIECES)
async def test_however_responses_are_split(samples: list[Sample], sizes: list[int]) -> None:
    queue = list(samples)

    async def script(peer: Peer) -> None:
        while queue:
            await peer.request()
            sample = queue.pop(0)
            await peer.send(*cut(sample.wire, sizes))
            if not sample.keep_alive:
                return
        await peer.client_closed()

    async with checked_pool() as pool, raw_server(script) as server:
        for sample in samples:
            response = await send(pool, server.origin)
            assert (response.status, response.headers) == (sample.status, sample.headers)
            assert await response.read() == sample.body
            response.close()
        assert server.connections == 1 + sum(not sample.keep_alive for sample in samples[:-1])


@over_sockets
@given(
    sample=st.sampled_from(SAMPLES),
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4),
    sizes=PIECES,
    stays_open=st.booleans(),
    kept=st.booleans(),
)
async def test_whatever_is_broken_in_them(
    sample: Sample, edits: list[tuple[int, int, bytes]], sizes: list[int], stays_open: bool, kept: bool
) -> None:
    wire = bytearray(sample.wire)
    for at, removed, added in edits:
        wire[at : at + removed] = added

    async def script(peer: Peer) -> None:
        if kept and peer.number == 0:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await peer.request()
        await peer.send(*cut(bytes(wire), sizes))
        if stays_open:
            await peer.client_closed()

    limits = Limits(max_header_bytes=1024, max_body_bytes=1024, high_water_bytes=16)
    async with checked_pool(limits) as pool, raw_server(script) as server, asyncio.timeout(10):
        for _ in range(2 if kept else 1):
            try:
                response = await send(pool, server.origin, timeouts=HASTY)
            except (UpstreamBroken, UpstreamTimeout, UpstreamUnreachable):
                continue
            try:
                await response.read()
            except (UpstreamBroken, UpstreamTimeout):
                pass
            finally:
                response.close()
        assert pool.stats().in_use == 0
