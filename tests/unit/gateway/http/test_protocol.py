from __future__ import annotations

import asyncio
import inspect

import pytest

from gateway.http.exchange import Line
from gateway.http.protocol import MAX_HEAD_BYTES, DirectLine
from tests.unit.builders import until
from tests.unit.gateway.http.connections import POST, Connection, Serve, answers, streams
from tests.unit.gateway.in_process import FakeLine


def test_it_is_a_line_and_so_is_the_fake() -> None:
    for name, expected in inspect.getmembers(Line, inspect.isfunction):
        if name.startswith("_"):
            continue
        for line in (DirectLine, FakeLine):
            found = getattr(line, name)
            assert list(inspect.signature(found).parameters) == list(inspect.signature(expected).parameters)
            assert inspect.iscoroutinefunction(found) == inspect.iscoroutinefunction(expected)


# Answers


async def test_head_and_body_leave_together() -> None:
    connection = Connection(answers)
    assert await connection.ask() == [
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    ]
    connection.end()


async def test_the_head_of_a_stream_leaves_with_its_first_piece_and_nothing_waits_after_it() -> None:
    connection = Connection(streams)
    assert await connection.ask() == [
        b"HTTP/1.1 200 OK\r\ndate: today\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n",
        b"",
        b"3\r\ntwo\r\n",
        b"0\r\n\r\n",
    ]
    connection.end()


async def test_a_first_piece_with_nothing_in_it_sends_the_head() -> None:
    async def serve(line: DirectLine) -> None:
        line.start(200, [])
        line.send(b"")
        line.finish(b"all")

    connection = Connection(serve)
    head, rest = await connection.ask()
    assert head.endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert rest == b"3\r\nall\r\n0\r\n\r\n"
    connection.end()


async def test_an_answer_to_head_has_no_body() -> None:
    connection = Connection(answers)
    (written,) = await connection.ask(b"HEAD / HTTP/1.1\r\nhost: moegate\r\n\r\n")
    assert written.endswith(b"content-length: 2\r\n\r\n")
    connection.end()


async def test_a_connection_serves_one_request_after_the_other() -> None:
    connection = Connection(answers, streams, answers)
    await connection.ask()
    await connection.ask(served=2)
    written = await connection.ask(served=3)
    assert [piece[:12] for piece in written if piece.startswith(b"HTTP")] == [b"HTTP/1.1 200"] * 3
    assert not connection.transport.closed
    connection.end()


@pytest.mark.parametrize("serve", [answers, streams])
async def test_a_client_that_wants_to_close_is_told_so_and_closed(serve: Serve) -> None:
    connection = Connection(serve)
    written = await connection.ask(POST + b"connection: close\r\n\r\n")
    assert b"\r\nconnection: close\r\n" in written[0]
    assert connection.transport.closed
    connection.end()


async def test_requests_sent_before_the_answer_are_answered_in_order() -> None:
    gate = asyncio.Event()

    async def later(line: DirectLine) -> None:
        await gate.wait()
        await streams(line)

    connection = Connection(later, answers)
    connection.protocol.data_received((POST + b"content-length: 2\r\n\r\n{}") * 2)
    await until(lambda: len(connection.lines) == 1)
    gate.set()
    written = await connection.ask(b"", served=2)
    assert written[-1].endswith(b"{}")
    assert written[-2] == b"0\r\n\r\n"
    connection.end()


@pytest.mark.parametrize("value", [b"a\r\nx-injected: 1", b"a\nb", b"a\0b", b"a\rb"])
async def test_no_header_can_make_another(value: bytes) -> None:
    async def serve(line: DirectLine) -> None:
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            line.start(200, [(b"x-odd", value)])
        await answers(line)

    connection = Connection(serve)
    (written,) = await connection.ask()
    assert b"odd" not in written
    connection.end()


async def test_a_client_that_reads_too_slowly_is_waited_for() -> None:
    async def serve(line: DirectLine) -> None:
        line.start(200, [])
        assert line.send(b"one")
        connection.protocol.pause_writing()
        assert not line.send(b"two")
        await line.ready()
        line.finish(b"three")

    connection = Connection(serve)
    connection.protocol.data_received(POST + b"content-length: 0\r\n\r\n")
    await until(lambda: len(connection.transport.written) == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(connection.transport.written) == 2
    connection.protocol.resume_writing()
    assert (await connection.ask(b""))[2] == b"5\r\nthree\r\n0\r\n\r\n"
    connection.end()


async def test_an_application_that_only_began_is_answered_for_by_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """The head was not sent, so the client gets a whole error and no half answer."""

    async def serve(line: DirectLine) -> None:
        line.start(200, [])

    connection = Connection(serve)
    connection.protocol.data_received(POST + b"content-length: 0\r\n\r\n")
    await until(lambda: len(connection.transport.written) == 2)
    assert connection.transport.written[0].startswith(b"HTTP/1.1 500 ")
    connection.end()


# What uvicorn leaves to others


async def test_a_head_without_end_is_cut() -> None:
    connection = Connection()
    connection.protocol.data_received(b"GET / HTTP/1.1\r\nx: ")
    for _ in range(MAX_HEAD_BYTES // 8192 + 1):
        connection.protocol.data_received(b"x" * 8192)
    assert connection.transport.closed
    connection.end()
