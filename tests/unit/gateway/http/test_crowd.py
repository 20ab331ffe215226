"""What connections may take before they are requests."""

from __future__ import annotations

import json
import resource

import pytest

from gateway.http.crowd import FILES_PER_CONNECTION, OTHER_FILES, TOLD, Crowd, affordable
from tests.unit.builders import until
from tests.unit.gateway.http.connections import POST, Connection, answers


def test_connections_are_counted_in_and_out() -> None:
    crowd = Crowd(2)
    assert [crowd.enter("a"), crowd.enter("b"), crowd.enter("c")] == [True, True, False]
    crowd.leave("c")
    crowd.leave("a")
    assert crowd.enter("d")
    assert crowd.turned_away == 1


def test_one_client_does_not_take_all() -> None:
    crowd = Crowd(10, most_per_client=1)
    assert [crowd.enter("a"), crowd.enter("a"), crowd.enter("b")] == [True, False, True]
    crowd.leave("a")
    crowd.leave("a")
    assert crowd.enter("a")


def test_there_are_never_more_connections_than_files_for_them() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert affordable(1) == 1
    most = affordable(10**9)
    assert most * FILES_PER_CONNECTION + OTHER_FILES <= max(hard, FILES_PER_CONNECTION + OTHER_FILES)


async def test_one_too_many_is_told_so_once_it_asks_and_closed() -> None:
    crowd = Crowd(1)
    first, second = Connection(answers, crowd=crowd), Connection(crowd=crowd)
    second.protocol.data_received(POST + b"content-length: 0\r\n\r\n")
    head, _, body = second.transport.written[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in head
    assert json.loads(body)["error"]["code"] == "too_many_connections"
    assert second.transport.closed
    assert not second.lines
    await first.ask()
    first.end()
    second.end()
    third = Connection(answers, crowd=crowd)
    await third.ask()
    third.end()


async def test_far_too_many_are_closed_without_a_word() -> None:
    crowd = Crowd(1)
    connections = [Connection(crowd=crowd) for _ in range(TOLD + 2)]
    assert [each.transport.aborted for each in connections] == [False] * (TOLD + 1) + [True]
    for each in connections:
        each.end()


@pytest.mark.parametrize(("begun", "status"), [(b"", b""), (POST, b"HTTP/1.1 408 ")])
async def test_a_head_that_does_not_come_is_not_waited_for_without_end(begun: bytes, status: bytes) -> None:
    connection = Connection(crowd=Crowd(1, head_seconds=0))
    if begun:
        connection.protocol.data_received(begun)
    await until(lambda: connection.transport.closed)
    assert b"".join(connection.transport.written).startswith(status)
    assert bool(connection.transport.written) == bool(begun)
    connection.end()


async def test_a_second_head_is_not_waited_for_either() -> None:
    crowd = Crowd(1)
    connection = Connection(answers, crowd=crowd)
    await connection.ask()
    crowd.head_seconds = 0
    connection.protocol.data_received(POST)
    await until(lambda: connection.transport.closed)
    assert connection.transport.written[-1].startswith(b"HTTP/1.1 408 ")
    connection.end()


async def test_a_whole_head_is_waited_for_no_more() -> None:
    connection = Connection(answers, crowd=Crowd(1, head_seconds=0))
    await connection.ask()
    await until(lambda: connection.served == 1)
    assert not connection.transport.closed
    connection.end()
