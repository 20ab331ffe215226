"""Which connection a call gets, when one is kept, and the one retry that the pool knows."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamBroken, UpstreamUnreachable
from gateway.upstream import ConnectionPool, Limits, Origin
from tests.support.raw_server import Peer, Script, answering, raw_server
from tests.unit.gateway.upstream.calls import OK, checked_pool, fetch, held, send, until
from tests.unit.gateway.upstream.samples import STREAM_HEAD


def answering_with_number(*, requests: int | None = None) -> Script:
    """Answers with the connection's number; closes after so many requests."""

    async def script(peer: Peer) -> None:
        served = 0
        while served != requests:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % peer.number)
            served += 1

    return script


async def test_a_kept_connection_serves_the_next_call(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as server:
        for _ in range(3):
            assert await fetch(pool, server.origin) == b"ok"
        stats = pool.stats()
        assert (stats.open, stats.idle, stats.in_use, stats.opened_total, stats.reused_total) == (1, 1, 0, 1, 2)


async def test_the_connection_released_last_is_used_first(pool: ConnectionPool) -> None:
    async with raw_server(answering_with_number()) as server:
        responses = [await send(pool, server.origin) for _ in range(3)]
        numbers = [await response.read() for response in responses]
        for response in responses:
            response.close()
        assert numbers == [b"0", b"1", b"2"]
        assert await fetch(pool, server.origin) == b"2"
        assert await fetch(pool, server.origin) == b"2"


async def test_origins_do_not_share_connections(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as one, raw_server(answering(OK)) as other:
        await fetch(pool, one.origin)
        await fetch(pool, other.origin)
        assert (one.connections, other.connections) == (1, 1)
        assert pool.stats().idle == 2


async def test_a_response_that_was_not_read_to_its_end_costs_the_connection(pool: ConnectionPool) -> None:
    async with raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        response.close()
        assert pool.stats().open == 0


async def test_a_response_that_came_whole_keeps_it_even_unread(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as server:
        response = await send(pool, server.origin)
        response.close()
        assert await fetch(pool, server.origin) == b"ok"
        assert server.connections == 1


async def test_surplus_in_the_same_read_costs_the_connection(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK + OK)) as server:
        assert await fetch(pool, server.origin) == b"ok"
        assert pool.stats().open == 0


async def test_surplus_while_idle_costs_the_connection(pool: ConnectionPool) -> None:
    idle = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await idle.wait()
        await peer.send(OK)
        await peer.client_closed()

    async with raw_server(script) as server:
        assert await fetch(pool, server.origin) == b"ok"
        assert pool.stats().idle == 1
        idle.set()
        await until(lambda: pool.stats().open == 0)


async def test_surplus_before_a_complete_response_was_closed(pool: ConnectionPool) -> None:
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await read.wait()
        await peer.send(b"more")
        await peer.client_closed()
        read.clear()

    async with raw_server(script) as server:
        response = await send(pool, server.origin)
        read.set()
        await until(lambda: not read.is_set())
        assert await response.read() == b"ok"
        response.close()
        assert pool.stats().open == 0


async def test_an_idle_connection_that_the_engine_closes_is_dropped_at_once(pool: ConnectionPool) -> None:
    close = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await close.wait()

    async with raw_server(script) as server:
        await fetch(pool, server.origin)
        assert pool.stats().idle == 1
        close.set()
        await until(lambda: pool.stats().open == 0)


@pytest.mark.parametrize("reset", [False, True])
async def test_the_keep_alive_race_is_retried_on_a_new_connection(pool: ConnectionPool, reset: bool) -> None:
    """Both kept connections die under the call; only one is tried, then a new one."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number < 2:
            await peer.request_head()
            if reset:
                peer.reset()

    async with raw_server(script) as server:
        for response in [await send(pool, server.origin) for _ in range(2)]:
            response.close()
        assert await fetch(pool, server.origin) == b"ok"
        assert server.connections == 3


async def test_the_race_is_retried_with_a_large_body_too(pool: ConnectionPool) -> None:
    body = b"x" * 5_000_000

    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.send(OK)
        if peer.number == 0:
            await peer.request_head()
            peer.reset()
        else:
            assert request.body == body

    async with raw_server(script) as server:
        await fetch(pool, server.origin)
        assert await fetch(pool, server.origin, body) == b"ok"
        assert server.connections == 2


async def test_it_is_retried_once(pool: ConnectionPool) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.request()
            await peer.send(OK)
        await peer.request()

    async with raw_server(script) as server:
        await fetch(pool, server.origin)
        with pytest.raises(UpstreamUnreachable, match="before it answered"):
            await fetch(pool, server.origin)
        assert server.connections == 2


@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_not_after_a_byte_of_the_response(pool: ConnectionPool, beginning: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(beginning)

    async with raw_server(script) as server:
        await fetch(pool, server.origin)
        with pytest.raises(UpstreamBroken, match="in the middle"):
            await fetch(pool, server.origin)
        assert server.connections == 1


async def test_one_connection_more_than_allowed_is_refused() -> None:
    limits = Limits(max_connections_per_origin=2)
    async with checked_pool(limits) as pool, raw_server(answering(OK)) as server:
        responses = [await send(pool, server.origin) for _ in range(2)]
        with pytest.raises(UpstreamUnreachable, match="all 2 connections are in use"):
            await send(pool, server.origin)
        for response in responses:
            response.close()
        assert await fetch(pool, server.origin) == b"ok"


@pytest.mark.parametrize(("max_idle", "kept"), [(0, []), (1, [b"2"]), (2, [b"2", b"1"])])
async def test_of_too_many_idle_connections_the_newest_are_kept(max_idle: int, kept: list[bytes]) -> None:
    limits = Limits(max_idle_per_origin=max_idle)
    async with checked_pool(limits) as pool, raw_server(answering_with_number()) as server:
        for response in [await send(pool, server.origin) for _ in range(3)]:
            response.close()
        assert pool.stats().open == max_idle
        held = [await send(pool, server.origin) for _ in range(max_idle)]
        assert [await response.read() for response in held] == kept
        for response in held:
            response.close()


async def test_idle_connections_expire() -> None:
    limits = Limits(idle_keepalive_seconds=0.02)
    async with checked_pool(limits) as pool, raw_server(answering(OK)) as server:
        for response in [await send(pool, server.origin) for _ in range(3)]:
            response.close()
        assert pool.stats().idle == 3
        await until(lambda: pool.stats().open == 0)
        assert await fetch(pool, server.origin) == b"ok"
        assert server.connections == 4


async def test_calls_that_overlap_the_end_of_a_lane_share_the_next_one(pool: ConnectionPool) -> None:
    """A call's kept connection was an origin's last: by the time it retries, another call has begun anew."""

    async with raw_server(answering(OK)) as server:
        await fetch(pool, server.origin)
        retried = asyncio.create_task(send(pool, server.origin))
        await asyncio.sleep(0)
        (connection,) = held(pool)
        other = asyncio.create_task(send(pool, server.origin))
        connection.connection_lost(None)  # Wakes the task that will retry; the other one runs before it.
        for response in await asyncio.gather(other, retried):
            response.close()
        assert (pool.stats().idle, pool.stats().open) == (2, 2)


async def test_nobody_listens(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as server:
        origin = server.origin
    with pytest.raises(UpstreamUnreachable, match=f"^{origin.label}: ") as caught:
        await send(pool, origin)
    assert "v1" not in str(caught.value)
    assert pool.stats().open == 0


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "a" * 70])
async def test_a_name_that_cannot_be_looked_up(pool: ConnectionPool, host: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        await send(pool, Origin("http", host, 80))
    assert pool.stats().open == 0
