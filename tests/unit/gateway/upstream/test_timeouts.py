"""How long an engine may keep a call waiting, and that nobody looks when nobody waits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway.errors import UpstreamTimeout, UpstreamUnreachable
from gateway.upstream import ConnectionPool, Origin, Timeouts
from gateway.upstream.deadlines import Sweeper, sweep_seconds
from tests.support.raw_server import Peer, raw_server
from tests.unit.gateway.upstream.calls import OK, fetch, send
from tests.unit.gateway.upstream.samples import EVENT, STREAM_HEAD, chunk

SHORT_SECONDS = 0.05
HASTY = Timeouts(connect_seconds=5.0, first_byte_seconds=SHORT_SECONDS, idle_seconds=SHORT_SECONDS)


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nConte"])
async def test_no_head_in_time(pool: ConnectionPool, beginning: bytes) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(beginning)
        await peer.client_closed()
        gone.set()

    async with raw_server(script) as server:
        started = asyncio.get_running_loop().time()
        with pytest.raises(UpstreamTimeout, match="no response in time"):
            await send(pool, server.origin, timeouts=HASTY)
        assert asyncio.get_running_loop().time() - started < 1.0
        await asyncio.wait_for(gone.wait(), 5)
        assert (pool.stats().open, server.connections) == (0, 1)


async def test_a_kept_connection_that_stays_silent_is_not_retried(pool: ConnectionPool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.client_closed()

    async with raw_server(script) as server:
        await fetch(pool, server.origin)
        with pytest.raises(UpstreamTimeout):
            await send(pool, server.origin, timeouts=HASTY)
        assert server.connections == 1


async def test_no_more_of_a_body_in_time(pool: ConnectionPool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunk(EVENT))
        await peer.client_closed()

    async with raw_server(script) as server:
        response = await send(pool, server.origin, timeouts=HASTY)
        assert await response.read_chunk() == EVENT
        with pytest.raises(UpstreamTimeout, match="no more of the response in time"):
            await response.read_chunk()
        assert pool.stats().open == 0
        response.close()


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", STREAM_HEAD + chunk(EVENT) + b"5;x="])
async def test_a_slow_drip_is_no_answer(pool: ConnectionPool, start: bytes) -> None:
    """Bytes come all the time, but nothing that a reader could use."""
    stop = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        while not stop.is_set():
            await peer.send(b"x")
            await asyncio.sleep(SHORT_SECONDS / 10)

    async with raw_server(script) as server:
        with pytest.raises(UpstreamTimeout):
            await fetch(pool, server.origin, timeouts=HASTY)
        stop.set()


async def test_one_read_may_be_given_less_time_than_the_others(pool: ConnectionPool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunk(EVENT))
        await peer.client_closed()

    timeouts = Timeouts(first_byte_seconds=SHORT_SECONDS, idle_seconds=300.0)
    async with raw_server(script) as server:
        response = await send(pool, server.origin, timeouts=timeouts)
        assert await response.read_chunk(0.0) == EVENT
        with pytest.raises(UpstreamTimeout, match="no more of the response in time"):
            await response.read_chunk(SHORT_SECONDS)
        response.close()


async def test_a_reader_that_takes_its_time_costs_the_engine_nothing(pool: ConnectionPool) -> None:
    """Only waiting counts: a slow client must not make the engine look slow."""
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunk(EVENT))
        await go_on.wait()
        await peer.send(chunk(EVENT))
        await peer.client_closed()

    async with raw_server(script) as server:
        response = await send(pool, server.origin, timeouts=HASTY)
        assert await response.read_chunk() == EVENT
        await asyncio.sleep(SHORT_SECONDS * 3)
        go_on.set()
        assert await response.read_chunk() == EVENT
        response.close()


async def test_an_engine_that_does_not_read_the_request(pool: ConnectionPool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request_head()
        await asyncio.Event().wait()

    async with raw_server(script) as server:
        with pytest.raises(UpstreamTimeout, match="no response in time"):
            await send(pool, server.origin, b"x" * 32_000_000, timeouts=HASTY)
        assert pool.stats().open == 0


@pytest.fixture
def silent_origin() -> Iterator[Origin]:
    """Listens with a full backlog: the next connection attempt gets no answer."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield Origin("http", "127.0.0.1", listener.getsockname()[1])


async def test_no_connection_in_time(pool: ConnectionPool, silent_origin: Origin) -> None:
    timeouts = Timeouts(connect_seconds=SHORT_SECONDS)
    with pytest.raises(UpstreamUnreachable, match="connect timeout"):
        await send(pool, silent_origin, timeouts=timeouts)
    assert pool.stats().open == 0


async def test_timeouts_of_different_calls_do_not_disturb_each_other(pool: ConnectionPool) -> None:
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await release.wait()
        await peer.send(OK)

    async with raw_server(script) as server:
        patient = asyncio.ensure_future(fetch(pool, server.origin))
        for _ in range(2):
            with pytest.raises(UpstreamTimeout):
                await send(pool, server.origin, timeouts=HASTY)
        release.set()
        assert await patient == b"ok"


@pytest.mark.parametrize(
    ("first_byte", "idle", "expected"), [(300.0, 120.0, 1.0), (4.0, 120.0, 0.5), (4.0, 0.4, 0.05), (0.001, 1.0, 0.01)]
)
def test_how_often_the_sweeper_looks(first_byte: float, idle: float, expected: float) -> None:
    timeouts = Timeouts(first_byte_seconds=first_byte, idle_seconds=idle)
    assert sweep_seconds(timeouts) == pytest.approx(expected)


class FakeHandle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """A clock that tests turn, and the timers set on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, object, FakeHandle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: object) -> FakeHandle:
        handle = FakeHandle()
        self.timers.append((when, callback, handle))
        return handle

    @property
    def pending(self) -> list[float]:
        return [when for when, _, handle in self.timers if not handle.cancelled and when > self.now]

    def advance(self, to: float) -> None:
        due = [timer for timer in self.timers if self.now < timer[0] <= to and not timer[2].cancelled]
        self.now = to
        for _, callback, _ in due:
            callback()  # type: ignore[operator]


def sweeper_on(loop: FakeLoop, *answers: float | None) -> tuple[Sweeper, list[float]]:
    looked: list[float] = []
    remaining = list(answers)

    def sweep(now: float) -> float | None:
        looked.append(now)
        return remaining.pop(0)

    return Sweeper(loop, sweep), looked  # type: ignore[arg-type]


def test_the_sweeper_is_armed_once_and_rests_when_nothing_is_left() -> None:
    loop = FakeLoop()
    sweeper, looked = sweeper_on(loop, 0.5, None)
    assert loop.pending == []
    for _ in range(100):
        sweeper.within(1.0)
    assert loop.pending == [1.0]
    loop.advance(1.0)
    assert (looked, loop.pending) == ([1.0], [1.5])
    loop.advance(1.5)
    assert (looked, loop.pending) == ([1.0, 1.5], [])


def test_a_shorter_timeout_brings_the_next_sweep_forward() -> None:
    loop = FakeLoop()
    sweeper, looked = sweeper_on(loop, None)
    sweeper.within(1.0)
    sweeper.within(0.01)
    sweeper.within(0.5)
    assert loop.pending == [0.01]
    loop.advance(2.0)
    assert looked == [2.0]


def test_a_timer_that_has_come_close_is_left_alone() -> None:
    loop = FakeLoop()
    sweeper, _ = sweeper_on(loop)
    sweeper.within(4.0)
    loop.advance(3.5)
    sweeper.within(1.0)
    assert (loop.pending, len(loop.timers)) == ([4.0], 1)


def test_a_stopped_sweeper_does_not_look() -> None:
    loop = FakeLoop()
    sweeper, looked = sweeper_on(loop)
    sweeper.within(1.0)
    sweeper.stop()
    sweeper.stop()
    loop.advance(5.0)
    assert looked == []
