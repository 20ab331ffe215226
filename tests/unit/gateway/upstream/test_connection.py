"""States of a connection that a real socket reaches only by chance."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamUnreachable
from gateway.upstream import Limits, Origin
from gateway.upstream.protocol import Connection
from gateway.upstream.roster import Roster
from tests.unit.gateway.upstream.calls import OK


class FakeTransport(asyncio.Transport):
    """Takes everything, tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = 0
        self.unsent_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep nothing."""

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def abort(self) -> None:
        self.aborted += 1


@pytest.fixture
async def roster() -> Roster:
    return Roster(asyncio.get_running_loop(), Limits())


@pytest.fixture
async def connection(roster: Roster) -> Connection:
    connection = Connection(asyncio.get_running_loop(), roster.lane(Origin("http", "engine", 80)), Limits(), roster)
    roster.enrol(connection, 1.0)
    return connection


async def answered(connection: Connection, transport: FakeTransport) -> None:
    connection.connection_made(transport)
    task = asyncio.create_task(connection.request(b"GET / HTTP/1.1\r\n\r\n", b"", 1.0, bodiless=False))
    await asyncio.sleep(0)
    connection.data_received(OK)
    await task


async def test_kept_when_both_sides_are_through(roster: Roster, connection: Connection) -> None:
    transport = FakeTransport()
    await answered(connection, transport)
    roster.release(connection)
    assert (roster.stats().idle, transport.aborted) == (1, 0)


async def test_not_kept_while_some_of_the_request_waits_to_be_written(roster: Roster, connection: Connection) -> None:
    transport = FakeTransport()
    transport.unsent_bytes = 1
    await answered(connection, transport)
    roster.release(connection)
    assert (roster.stats().open, transport.aborted) == (0, 1)


async def test_not_kept_when_the_upload_was_cut_short(roster: Roster, connection: Connection) -> None:
    transport = FakeTransport()
    connection.connection_made(transport)
    connection.pause_writing()
    task = asyncio.create_task(connection.request(b"POST / HTTP/1.1\r\n\r\n", b"x" * 1_000_000, 1.0, bodiless=False))
    await asyncio.sleep(0)
    connection.data_received(OK)
    await task
    connection.resume_writing()
    roster.release(connection)
    assert (roster.stats().open, transport.aborted) == (0, 1)


async def test_given_up_while_it_is_being_made(roster: Roster, connection: Connection) -> None:
    connection.abort()
    assert roster.stats().open == 0
    transport = FakeTransport()
    connection.connection_made(transport)
    assert transport.aborted == 1


async def test_no_request_before_there_is_a_socket(connection: Connection) -> None:
    with pytest.raises(UpstreamUnreachable, match="engine:80: not connected"):
        await connection.request(b"GET / HTTP/1.1\r\n\r\n", b"", 1.0, bodiless=False)


async def test_bytes_before_any_request_end_it(roster: Roster, connection: Connection) -> None:
    transport = FakeTransport()
    connection.connection_made(transport)
    connection.data_received(b"220 engine ESMTP\r\n")
    assert (roster.stats().open, transport.aborted) == (0, 1)
