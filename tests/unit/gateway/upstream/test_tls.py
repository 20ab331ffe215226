"""Engines behind TLS: certificates are verified unless an operator's context says otherwise."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from gateway.errors import UpstreamBroken, UpstreamUnreachable
from gateway.upstream import Limits, Timeouts
from tests.support.raw_server import Peer, answering, answering_once, raw_server
from tests.unit.gateway.upstream.calls import OK, PATIENT, checked_pool, fetch, send
from tests.unit.gateway.upstream.samples import EVENT, STREAM_HEAD, chunk


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_calls_over_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async with (
        checked_pool(tls=client_context) as pool,
        raw_server(answering(STREAM_HEAD, chunk(EVENT), b"0\r\n\r\n"), tls=server_context) as server,
    ):
        for _ in range(3):
            assert await fetch(pool, server.origin) == EVENT
        assert await fetch(pool, server.origin, b"x" * 2_000_000) == EVENT
        assert server.connections == 1


async def test_a_body_until_close_over_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    wire = b"HTTP/1.1 200 OK\r\n\r\nall there is"
    async with (
        checked_pool(tls=client_context) as pool,
        raw_server(answering_once(wire), tls=server_context) as server,
    ):
        assert await fetch(pool, server.origin) == b"all there is"


async def test_closed_in_the_middle_over_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async with (
        checked_pool(tls=client_context) as pool,
        raw_server(answering_once(STREAM_HEAD + chunk(EVENT)), tls=server_context) as server,
    ):
        response = await send(pool, server.origin)
        assert await response.read_chunk() == EVENT
        with pytest.raises(UpstreamBroken, match="in the middle"):
            await response.read_chunk()
        response.close()


async def test_the_engine_sees_a_closed_response_over_tls(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    client_closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        await peer.client_closed()
        client_closed.set()

    async with checked_pool(tls=client_context) as pool, raw_server(script, tls=server_context) as server:
        response = await send(pool, server.origin)
        response.close()
        await asyncio.wait_for(client_closed.wait(), 5)


async def test_a_certificate_that_nobody_vouches_for(server_context: ssl.SSLContext) -> None:
    async with checked_pool() as pool, raw_server(answering(OK), tls=server_context) as server:
        with pytest.raises(UpstreamUnreachable, match="not trusted"):
            await send(pool, server.origin)
        assert pool.stats().open == 0


async def test_a_certificate_for_somebody_else(authority: trustme.CA, client_context: ssl.SSLContext) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("engine.example").configure_cert(other)
    async with checked_pool(tls=client_context) as pool, raw_server(answering(OK), tls=other) as server:
        with pytest.raises(UpstreamUnreachable, match="not trusted"):
            await send(pool, server.origin)


async def test_no_tls_on_the_other_side(client_context: ssl.SSLContext) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(OK)
        await peer.client_closed()

    async with checked_pool(tls=client_context) as pool, raw_server(script) as server:
        with pytest.raises(UpstreamUnreachable):
            await send(pool, server.https_origin)
        assert pool.stats().open == 0


async def test_a_handshake_that_never_ends(client_context: ssl.SSLContext) -> None:
    async with checked_pool(Limits(), tls=client_context) as pool, raw_server(Peer.client_closed) as server:
        with pytest.raises(UpstreamUnreachable, match="connect timeout"):
            await send(pool, server.https_origin, timeouts=Timeouts(connect_seconds=0.05))
        assert pool.stats().open == 0


async def test_a_handshake_that_is_cut_short(client_context: ssl.SSLContext) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive(1)

    async with checked_pool(tls=client_context) as pool, raw_server(script) as server:
        with pytest.raises(UpstreamUnreachable):
            await send(pool, server.https_origin, timeouts=PATIENT)
        assert pool.stats().open == 0


async def test_a_call_cancelled_in_the_handshake(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with checked_pool(tls=client_context) as pool, raw_server(answering(OK), tls=server_context) as server:
        for turns in range(12):
            task = asyncio.create_task(send(pool, server.origin))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                (await task).close()
            except asyncio.CancelledError:
                assert pool.stats().in_use == 0
