"""Giving up: what `close`, a cancelled task and `aclose` do, and how soon the engine sees it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamUnreachable
from gateway.upstream import ConnectionPool, Limits
from tests.support.raw_server import Peer, Script, answering, raw_server
from tests.unit.gateway.upstream.calls import OK, fetch, held, send, until
from tests.unit.gateway.upstream.samples import EVENT, STREAM_HEAD, chunk


class Gates:
    """What a script and its test tell each other."""

    def __init__(self) -> None:
        self.received = asyncio.Event()
        self.client_closed = asyncio.Event()


def silent_after(gates: Gates, beginning: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(beginning)
        gates.received.set()
        await peer.client_closed()
        gates.client_closed.set()

    return script


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 5)


async def test_the_engine_sees_a_closed_response_at_once(pool: ConnectionPool) -> None:
    gates = Gates()
    async with raw_server(silent_after(gates, STREAM_HEAD + chunk(EVENT))) as server:
        response = await send(pool, server.origin)
        response.close()
        assert pool.stats().open == 0
        await soon(gates.client_closed)
        response.close()  # Harmless.
        with pytest.raises(RuntimeError, match="closed"):
            await response.read_chunk()


async def test_a_second_close_does_not_touch_the_call_that_has_the_connection_now(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as server:
        first = await send(pool, server.origin)
        assert await first.read() == b"ok"
        first.close()
        second = await send(pool, server.origin)
        first.close()
        assert await second.read() == b"ok"
        second.close()
        assert server.connections == 1


async def test_a_task_cancelled_before_the_head(pool: ConnectionPool) -> None:
    gates = Gates()
    async with raw_server(silent_after(gates, b"HTTP/1.1 200 OK\r\n")) as server:
        task = asyncio.create_task(send(pool, server.origin))
        await soon(gates.received)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.stats().open == 0
        await soon(gates.client_closed)


async def test_a_task_cancelled_on_a_kept_connection_is_not_retried(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as server:
        await fetch(pool, server.origin)
        task = asyncio.create_task(send(pool, server.origin))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (pool.stats().open, server.connections) == (0, 1)


async def test_a_task_cancelled_in_a_body_can_go_on_reading(pool: ConnectionPool) -> None:
    """Cancelling a read loses nothing; only `close` gives the answer up."""
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        await go_on.wait()
        await peer.send(chunk(EVENT))
        await peer.client_closed()

    async with raw_server(script) as server:
        response = await send(pool, server.origin)
        for _ in range(3):
            reading = asyncio.create_task(response.read_chunk())
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        go_on.set()
        assert await response.read_chunk() == EVENT
        response.close()


async def test_a_task_cancelled_while_it_connects(pool: ConnectionPool) -> None:
    async with raw_server(answering(OK)) as server:
        for turns in range(12):
            task = asyncio.create_task(send(pool, server.origin))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                (await task).close()
            except asyncio.CancelledError:
                assert pool.stats().in_use == 0


async def test_a_task_cancelled_in_an_upload(pool: ConnectionPool) -> None:
    gates = Gates()

    async def script(peer: Peer) -> None:
        await peer.request_head()
        gates.received.set()
        await gates.client_closed.wait()

    async with raw_server(script) as server:
        task = asyncio.create_task(send(pool, server.origin, b"x" * 32_000_000))
        await soon(gates.received)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.stats().open == 0
        gates.client_closed.set()


async def test_closed_while_another_task_reads(pool: ConnectionPool) -> None:
    gates = Gates()
    async with raw_server(silent_after(gates, STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        reading = asyncio.create_task(response.read_chunk())
        await asyncio.sleep(0)
        response.close()
        with pytest.raises(UpstreamBroken, match="closed while it was being read"):
            await reading
        await soon(gates.client_closed)


async def test_a_reader_woken_too_late_does_not_get_another_calls_bytes(pool: ConnectionPool) -> None:
    """The end arrives, and before the reader runs its response is closed and the connection is in use again."""
    async with raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        reading = asyncio.create_task(response.read_chunk())
        await asyncio.sleep(0)
        (connection,) = held(pool)
        # The state just after the end has come: the waiter is done, its task has not run.
        connection.data_received(b"0\r\n\r\n")
        response.close()
        assert pool.stats().idle == 1
        with pytest.raises(UpstreamBroken, match="closed while it was being read"):
            await reading


async def test_one_task_at_a_time(pool: ConnectionPool) -> None:
    async with raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        reading = asyncio.create_task(response.read_chunk())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await response.read_chunk()
        reading.cancel()
        response.close()


async def test_aclose_ends_calls_in_flight_and_refuses_new_ones() -> None:
    gates = Gates()
    pool = ConnectionPool(Limits())
    async with raw_server(answering(OK)) as idle, raw_server(silent_after(gates, b"")) as server:
        await fetch(pool, idle.origin)
        waiting = asyncio.create_task(send(pool, server.origin))
        await soon(gates.received)
        assert (pool.stats().idle, pool.stats().in_use) == (1, 1)
        await pool.aclose()
        assert pool.stats().open == 0
        with pytest.raises(UpstreamError):
            await waiting
        await soon(gates.client_closed)
        with pytest.raises(UpstreamUnreachable, match="pool is closed"):
            await send(pool, server.origin)
        await pool.aclose()


async def test_aclose_while_a_connection_is_being_made() -> None:
    pool = ConnectionPool(Limits())
    async with raw_server(answering(OK)) as server:
        for turns in range(1, 8):
            pool = ConnectionPool(Limits())
            task = asyncio.create_task(send(pool, server.origin))
            for _ in range(turns):
                await asyncio.sleep(0)
            await pool.aclose()
            with suppress(UpstreamError):
                (await task).close()
            await pool.aclose()
            assert pool.stats().open == 0


async def test_a_pool_that_was_never_used_can_be_closed() -> None:
    pool = ConnectionPool(Limits())
    assert pool.stats().open == 0
    await pool.aclose()


async def test_the_records_of_an_origin_go_with_its_last_connection(pool: ConnectionPool) -> None:
    """A gateway that is reconfigured for years must not remember every engine it ever had."""
    for _ in range(3):
        async with raw_server(answering(OK)) as server:
            await fetch(pool, server.origin)
        await until(lambda: pool.stats().open == 0)
    assert pool._roster is not None
    assert pool._roster._lanes == {}
