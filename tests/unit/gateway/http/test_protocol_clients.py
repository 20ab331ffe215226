"""What the server's protocol knows of a client: its request's body, and whether it is still there."""

from __future__ import annotations

import pytest

from gateway.http.protocol import DirectLine
from tests.unit.builders import until
from tests.unit.gateway.http.connections import POST, Connection, answers, streams, waits

# The request's body


@pytest.mark.parametrize("length", [0, 2, 200_000])
async def test_a_body_that_is_there_is_taken_at_once_and_only_once(length: int) -> None:
    bodies: list[bytes | None] = []

    async def serve(line: DirectLine) -> None:
        bodies.extend((line.body(), line.body()))
        await answers(line)

    connection = Connection(serve)
    await connection.ask(POST + b"content-length: %d\r\n\r\n" % length + b"x" * length)
    assert bodies == [b"x" * length, b""]
    connection.end()


async def test_a_body_that_is_on_its_way_is_not_there() -> None:
    bodies: list[bytes | None] = []

    async def serve(line: DirectLine) -> None:
        bodies.append(line.body())
        await answers(line)

    connection = Connection(serve)
    await connection.ask(POST + b"content-length: 2\r\n\r\n{")
    assert bodies == [None]
    connection.end()


async def test_after_a_long_body_the_connection_is_read_again() -> None:
    """Or nobody would see the client leave."""

    async def serve(line: DirectLine) -> None:
        assert not connection.transport.reading
        assert line.body() is not None
        assert connection.transport.reading
        await answers(line)

    connection = Connection(serve)
    await connection.ask(POST + b"content-length: 200000\r\n\r\n" + b"x" * 200_000)
    connection.end()


# Clients that leave


@pytest.mark.parametrize("failure", [None, ConnectionResetError()])
async def test_a_lost_connection_is_told_to_who_watches(failure: Exception | None) -> None:
    connection = Connection(waits)
    connection.protocol.data_received(POST + b"content-length: 0\r\n\r\n")
    await until(lambda: bool(connection.lines))
    assert connection.served == 0
    connection.protocol.connection_lost(failure)
    await until(lambda: connection.served == 1)
    assert connection.transport.written == []


async def test_one_that_was_lost_before_is_told_at_once() -> None:
    told: list[bool] = []

    async def serve(line: DirectLine) -> None:
        assert line.body() is None
        line.watch(lambda: told.append(True))

    connection = Connection(serve)
    connection.protocol.data_received(POST + b"content-length: 0\r\n\r\n")
    connection.end()
    await until(lambda: connection.served == 1)
    assert told == [True]


@pytest.mark.parametrize("end", ["answered", "released"])
async def test_nobody_is_told_after_the_end(end: str) -> None:
    told: list[bool] = []

    async def serve(line: DirectLine) -> None:
        line.watch(lambda: told.append(True))
        if end == "released":
            line.release()
        else:
            await answers(line)
        connection.end()

    connection = Connection(serve)
    connection.protocol.data_received(POST + b"content-length: 0\r\n\r\n")
    await until(lambda: connection.served == 1)
    assert told == []


async def test_the_request_that_is_served_is_told_although_another_one_waits_behind_it() -> None:

    async def serve(line: DirectLine) -> None:
        await waits(line)
        await answers(line)

    connection = Connection(serve, answers)
    connection.protocol.data_received((POST + b"content-length: 0\r\n\r\n") * 2)
    await until(lambda: bool(connection.lines))
    connection.end()
    await until(lambda: connection.served == 1)
    assert len(connection.lines) == 1
    assert connection.transport.written == []


async def test_nothing_is_written_to_a_lost_connection() -> None:
    async def serve(line: DirectLine) -> None:
        connection.end()
        await streams(line)

    connection = Connection(serve)
    assert await connection.ask() == []
