"""Short ways to say what the tests of the pool say again and again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.upstream import ConnectionPool, Headers, Limits, Origin, Timeouts, UpstreamResponse
from gateway.upstream.protocol import Connection

# Long enough that only a test that means to waits for it, short enough that a broken test ends.
PATIENT = Timeouts(connect_seconds=5.0, first_byte_seconds=5.0, idle_seconds=5.0)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def send(
    pool: ConnectionPool,
    origin: Origin,
    body: bytes = b"{}",
    *,
    method: bytes = b"POST",
    target: bytes = b"/v1/chat/completions",
    headers: Headers = (),
    timeouts: Timeouts = PATIENT,
) -> UpstreamResponse:
    return await pool.send(origin, method, target, headers, body, timeouts)


async def fetch(pool: ConnectionPool, origin: Origin, body: bytes = b"{}", timeouts: Timeouts = PATIENT) -> bytes:
    """One whole call, connection given back."""
    response = await send(pool, origin, body, timeouts=timeouts)
    try:
        return await response.read()
    finally:
        response.close()


@asynccontextmanager
async def checked_pool(
    limits: Limits | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ConnectionPool]:
    """A pool that is closed at the end, and that by then no call may hold a connection of."""
    pool = ConnectionPool(limits or Limits(), tls=tls)
    try:
        yield pool
        assert pool.stats().in_use == 0, "a connection leaked"
    finally:
        await pool.aclose()
    stats = pool.stats()
    assert (stats.open, stats.idle, stats.in_use) == (0, 0, 0)


def held(pool: ConnectionPool) -> list[Connection]:
    """The connections that calls have now: for tests that must see or force a state no public way leads to."""
    return list(pool._roster._held) if pool._roster is not None else []


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until something that no event tells of has happened."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the point is that there is no event
            await asyncio.sleep(0.001)


def is_held_back(connection: Connection) -> bool:
    """Whether the engine is kept from sending more."""
    return connection._reading_paused
