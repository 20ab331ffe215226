"""A body that goes to a sink as it comes, with no task woken for it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamBroken, UpstreamTimeout
from gateway.upstream import ConnectionPool, Limits, Timeouts, UpstreamResponse
from tests.support.raw_server import Peer, answering, raw_server
from tests.unit.gateway.upstream.calls import checked_pool, held, is_held_back, send, until
from tests.unit.gateway.upstream.samples import EVENT, STREAM_HEAD, chunk

END = b"0\r\n\r\n"
SHORT_SECONDS = 0.05


class Sink:
    """Keeps what it gets, and says what it was told to say."""

    def __init__(self, *, wants_more: bool = True) -> None:
        self.pieces: list[bytes] = []
        self.wants_more = wants_more
        self.failure: Exception | None = None

    def __call__(self, piece: bytes) -> bool:
        self.pieces.append(piece)
        if self.failure is not None:
            raise self.failure
        return self.wants_more


async def passing(response: UpstreamResponse, sink: Sink) -> asyncio.Task[bool]:
    """A task that waits for the body."""
    task = asyncio.create_task(response.pass_on(sink))
    await asyncio.sleep(0)
    return task


async def test_a_piece_is_there_in_the_turn_in_which_it_came(pool: ConnectionPool) -> None:
    sink = Sink()
    async with raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        task = await passing(response, sink)
        (connection,) = held(pool)
        for count in (1, 2, 3):
            connection.data_received(chunk(EVENT))
            assert len(sink.pieces) == count
        assert not task.done()
        connection.data_received(chunk(b"last") + END)
        assert not await task, "the body is at its end"
        assert not await response.pass_on(sink)
        assert sink.pieces == [EVENT, EVENT, EVENT, b"last"]
        response.close()
        assert pool.stats().idle == 1


async def test_what_was_there_before_comes_first(pool: ConnectionPool) -> None:
    sink = Sink()
    async with raw_server(answering(STREAM_HEAD + chunk(b"one") + chunk(b"two") + END)) as server:
        response = await send(pool, server.origin)
        (connection,) = held(pool)
        await until(lambda: connection.parser.complete)
        assert not await response.pass_on(sink)
        assert sink.pieces == [b"onetwo"]
        response.close()


async def test_a_sink_that_wants_a_pause_gets_one_and_the_engine_is_held_back() -> None:
    sink = Sink(wants_more=False)
    async with checked_pool(Limits(high_water_bytes=2)) as pool, raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        task = await passing(response, sink)
        (connection,) = held(pool)
        for piece in (b"one", b"two", b"three"):
            connection.data_received(chunk(piece))
        assert await task, "there may be more"
        assert sink.pieces == [b"one"]
        assert is_held_back(connection)
        assert await response.pass_on(sink)
        assert sink.pieces == [b"one", b"twothree"]
        assert not is_held_back(connection)
        response.close()


async def test_what_a_sink_raises_is_raised_where_it_is_waited_for(pool: ConnectionPool) -> None:
    sink = Sink()
    sink.failure = ValueError("no such event")
    async with raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        task = await passing(response, sink)
        (connection,) = held(pool)
        connection.data_received(chunk(EVENT))
        connection.data_received(chunk(EVENT))
        with pytest.raises(ValueError, match="no such event"):
            await task
        assert sink.pieces == [EVENT]
        response.close()


async def test_nothing_is_given_once_the_task_is_being_cancelled(pool: ConnectionPool) -> None:
    """The piece comes after the client has left and before its task has run: there is nobody to write to."""
    sink = Sink()
    async with raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        task = await passing(response, sink)
        (connection,) = held(pool)
        task.cancel()
        connection.data_received(chunk(EVENT))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sink.pieces == []
        response.close()


async def test_what_came_before_a_failure_is_given_before_it_is_raised(pool: ConnectionPool) -> None:
    sink = Sink()
    async with raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        task = await passing(response, sink)
        (connection,) = held(pool)
        connection.data_received(chunk(EVENT) + b"no chunk\r\n")
        assert await task
        with pytest.raises(UpstreamBroken, match="malformed"):
            await response.pass_on(sink)
        assert sink.pieces == [EVENT]
        response.close()


async def test_each_piece_has_the_whole_of_the_idle_timeout(pool: ConnectionPool) -> None:
    sink = Sink()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        for _ in range(6):
            await asyncio.sleep(SHORT_SECONDS / 2)
            await peer.send(chunk(EVENT))
        await peer.client_closed()

    patience = Timeouts(connect_seconds=5.0, first_byte_seconds=5.0, idle_seconds=10 * SHORT_SECONDS)
    async with raw_server(script) as server:
        response = await send(pool, server.origin, timeouts=patience)
        with pytest.raises(UpstreamTimeout, match="no more of the response in time"):
            await response.pass_on(sink)
        assert b"".join(sink.pieces) == EVENT * 6
        response.close()


async def test_closed_while_it_is_passed_on(pool: ConnectionPool) -> None:
    sink = Sink()
    async with raw_server(answering(STREAM_HEAD)) as server:
        response = await send(pool, server.origin)
        task = await passing(response, sink)
        response.close()
        with pytest.raises(UpstreamBroken, match="closed while it was being read"):
            await task
        with pytest.raises(RuntimeError, match="closed"):
            await response.pass_on(sink)
