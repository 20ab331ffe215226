"""A request out, a response in: every shape over a real socket, on both event loops."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamBroken, UpstreamUnreachable
from gateway.upstream import ConnectionPool, Limits, encode_headers
from tests.support.raw_server import Peer, ReceivedRequest, answering, answering_once, raw_server
from tests.unit.gateway.upstream.calls import OK, PATIENT, checked_pool, fetch, send
from tests.unit.gateway.upstream.samples import EVENT, LAST_CHUNK, SAMPLES, STREAM_HEAD, Sample, chunk

each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


async def check(pool: ConnectionPool, sample: Sample, *pieces: bytes) -> None:
    script = answering(*pieces) if sample.keep_alive else answering_once(*pieces)
    async with raw_server(script) as server:
        for _ in range(2):
            response = await send(pool, server.origin)
            assert (response.status, response.headers) == (sample.status, sample.headers)
            assert await response.read() == sample.body
            assert await response.read_chunk() == b""
            response.close()
        assert server.connections == (1 if sample.keep_alive else 2)


@each_sample
async def test_every_shape(pool: ConnectionPool, sample: Sample) -> None:
    await check(pool, sample, sample.wire)


@each_sample
async def test_every_shape_byte_by_byte(pool: ConnectionPool, sample: Sample) -> None:
    await check(pool, sample, *(sample.wire[i : i + 1] for i in range(len(sample.wire))))


async def test_what_the_engine_receives(pool: ConnectionPool) -> None:
    received: list[ReceivedRequest] = []

    async def script(peer: Peer) -> None:
        received.append(await peer.request())
        await peer.send(OK)

    async with raw_server(script) as server:
        response = await pool.send(
            server.origin,
            b"POST",
            b"/v1/completions?x=y",
            [(b"x-request-id", b"42")],
            b'{"a":1}',
            PATIENT,
            prepared=encode_headers([(b"authorization", b"Bearer key")]),
        )
        response.close()
        assert received == [
            ReceivedRequest(
                b"POST",
                b"/v1/completions?x=y",
                [
                    (b"host", server.origin.label.encode()),
                    (b"authorization", b"Bearer key"),
                    (b"x-request-id", b"42"),
                    (b"content-length", b"7"),
                ],
                b'{"a":1}',
            )
        ]


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
async def test_bodies_of_every_size_arrive_whole(pool: ConnectionPool, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        for _ in range(2):
            received.append((await peer.request()).body)
            await peer.send(OK)

    async with raw_server(script) as server:
        for _ in range(2):
            assert await fetch(pool, server.origin, body) == b"ok"
        assert server.connections == 1
    assert received == [body, body]


async def test_a_header_by_its_name(pool: ConnectionPool) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")) as server:
        response = await send(pool, server.origin)
        assert response.header(b"x-a") == b"1"
        assert response.header(b"x-b") is None
        response.close()


async def test_head_has_no_body(pool: ConnectionPool) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as server:
        for _ in range(2):
            response = await send(pool, server.origin, b"", method=b"HEAD")
            assert response.header(b"content-length") == b"5"
            assert await response.read() == b""
            response.close()
        assert pool.stats().open == 0


async def test_each_event_is_there_when_it_was_sent(pool: ConnectionPool) -> None:
    taken = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        for _ in range(5):
            await peer.send(chunk(EVENT))
            await taken.wait()
            taken.clear()
        await peer.send(LAST_CHUNK)
        await peer.client_closed()

    async with raw_server(script) as server:
        response = await send(pool, server.origin)
        for _ in range(5):
            assert await response.read_chunk() == EVENT
            taken.set()
        assert await response.read_chunk() == b""
        response.close()
        assert pool.stats().idle == 1


async def test_what_piled_up_is_read_at_once(pool: ConnectionPool) -> None:
    async with raw_server(answering(STREAM_HEAD + chunk(b"a") + chunk(b"b") + chunk(b"c") + LAST_CHUNK)) as server:
        response = await send(pool, server.origin)
        assert await response.read_chunk() == b"abc"
        assert await response.read_chunk() == b""
        response.close()


async def test_a_body_longer_than_asked_for(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as server:
        response = await send(pool, server.origin)
        with pytest.raises(UpstreamBroken, match="longer than 1 bytes"):
            await response.read(1)
        response.close()
    async with checked_pool(Limits(max_body_bytes=1)) as small, raw_server(answering(OK)) as server:
        response = await send(small, server.origin)
        with pytest.raises(UpstreamBroken, match="longer than 1 bytes"):
            await response.read()
        response.close()


async def test_a_head_longer_than_allowed() -> None:
    wire = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n"
    async with checked_pool() as pool, raw_server(answering(wire)) as server:
        with pytest.raises(UpstreamBroken):
            await send(pool, server.origin)
    async with checked_pool(Limits(max_header_bytes=80_000)) as pool, raw_server(answering(wire)) as server:
        assert await fetch(pool, server.origin) == b""


async def test_not_http(pool: ConnectionPool) -> None:
    async with raw_server(answering(b"SSH-2.0-engine\r\n")) as server:
        with pytest.raises(UpstreamBroken, match="malformed") as caught:
            await send(pool, server.origin)
        assert server.origin.label in str(caught.value)
        assert pool.stats().open == 0


async def test_closed_in_the_middle_of_a_head(pool: ConnectionPool) -> None:
    async with raw_server(answering_once(b"HTTP/1.1 200 OK\r\nConte")) as server:
        with pytest.raises(UpstreamBroken, match="in the middle of the response head"):
            await send(pool, server.origin)
        assert server.connections == 1


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart", STREAM_HEAD + b"9\r\npart"])
async def test_closed_in_the_middle_of_a_body(pool: ConnectionPool, start: bytes) -> None:
    async with raw_server(answering_once(start)) as server:
        response = await send(pool, server.origin)
        assert await response.read_chunk() == b"part"
        for _ in range(2):
            with pytest.raises(UpstreamBroken, match="in the middle of the response body"):
                await response.read_chunk()
        response.close()


@pytest.mark.parametrize("wire", [STREAM_HEAD + chunk(b"part"), b"HTTP/1.1 200 OK\r\n\r\npart"])
async def test_reset_in_the_middle_of_a_body(pool: ConnectionPool, wire: bytes) -> None:
    taken = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)
        await taken.wait()
        peer.reset()

    async with raw_server(script) as server:
        response = await send(pool, server.origin)
        assert await response.read_chunk() == b"part"
        taken.set()
        with pytest.raises(UpstreamBroken, match="broke in the middle"):
            await response.read_chunk()
        response.close()


async def test_a_new_connection_that_dies_without_a_byte_is_not_retried(pool: ConnectionPool) -> None:
    async with raw_server(answering_once()) as server:
        with pytest.raises(UpstreamUnreachable, match="before it answered"):
            await send(pool, server.origin)
        assert server.connections == 1


async def test_a_malformed_request_is_refused_before_anything_is_sent(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as server:
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            await send(pool, server.origin, headers=[(b"x", b"a\r\nb: c")])
        with pytest.raises(ValueError, match="target"):
            await send(pool, server.origin, target=b"/ HTTP/1.1\r\n\r\n")
        assert server.connections == 0


async def test_many_calls_at_once(pool: ConnectionPool) -> None:
    async def script(peer: Peer) -> None:
        while True:
            body = (await peer.request()).body
            await peer.send(STREAM_HEAD, *(chunk(body) for _ in range(3)), LAST_CHUNK)

    async with raw_server(script) as server:
        bodies = [b"call %d;" % number for number in range(40)]
        assert await asyncio.gather(*(fetch(pool, server.origin, body) for body in bodies)) == [b * 3 for b in bodies]
        assert server.connections == 40
        assert pool.stats().idle == 40
