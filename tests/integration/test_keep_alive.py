"""Connections live as long as they may, on either side, and one that died is nobody's error."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.asking import CHAT, DONE, chat, payloads
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess
from tests.support.scripted_engine.answers import SENTENCE
from tests.support.scripted_engine.process import ScriptedEngine

STREAM = pytest.mark.parametrize("stream", [False, True])


def test_many_calls_over_one_connection(wire: Wire, a: ScriptedEngine) -> None:
    for number in range(100):
        wire.ask(chat(stream=number % 2 == 0, max_tokens=3))
        assert wire.answer().status_code == 200
    state = a.state()
    assert state["seen"] == 100
    assert state["connections_made"] < 10  # one, unless the machine pauses for longer than connections are kept
    assert state["violations"] == 0


def test_errors_leave_the_connection_open(wire: Wire) -> None:
    for body, status in [
        (b"{", 400),
        (chat(model="nobody"), 404),
        (chat(fault="error_400"), 400),
        (chat(fault="error_500"), 502),
        (chat(fault="queue_full_in_200", stream=True), 503),
        (chat(fault="midstream_cut", stream=True), 200),
        (chat(), 200),
    ]:
        wire.ask(body)
        assert wire.answer().status_code == status
    wire.head(method="GET", path="/healthz")
    assert wire.answer("GET").status_code == 200


def test_requests_sent_before_the_answer_are_answered_in_order(wire: Wire) -> None:
    wire.ask(chat(stream=True, max_tokens=2), CHAT)
    wire.ask(chat(), CHAT, "connection: close")
    both = wire.read_to(SENTENCE.encode())
    assert both.count(b"HTTP/1.1 200 OK") == 2
    assert both.index(b"[DONE]") < both.index(SENTENCE.encode())


def test_a_client_that_wants_to_close(wire: Wire) -> None:
    wire.ask(chat(), CHAT, "connection: close")
    assert wire.answer().headers["connection"] == "close"
    assert wire.socket.recv(1) == b""


@STREAM
def test_an_engine_that_closes_after_every_answer(http: httpx.Client, a: ScriptedEngine, *, stream: bool) -> None:
    a.all_calls("dies_after_answer")
    for _ in range(20):
        answer = http.post(CHAT, json=chat(stream=stream))
        assert answer.status_code == 200
        assert answer.headers["x-moegate-attempts"] == "1"
        if stream:
            assert payloads(answer.content)[-1] == DONE
    assert a.wait(finished=20)["seen"] == 20


@STREAM
@pytest.mark.parametrize("fault", ["closes", "refuses"])
def test_a_kept_connection_that_dies_under_the_request(
    http: httpx.Client, a: ScriptedEngine, fault: str, *, stream: bool
) -> None:
    """The request goes out once more on a new connection: the same replica, the same attempt."""
    assert http.post(CHAT, json=chat()).is_success
    a.next_calls(fault, "")
    answer = http.post(CHAT, json=chat(stream=stream))
    assert answer.status_code == 200
    assert answer.headers["x-moegate-replica"] == "a"
    assert answer.headers["x-moegate-attempts"] == "1"
    assert a.state()["seen"] == 3


def test_kept_connections_that_the_engine_dropped(http: httpx.Client, a: ScriptedEngine) -> None:
    assert http.post(CHAT, json=chat()).is_success
    a.listen(accept=True, drop=True)
    answer = http.post(CHAT, json=chat())
    assert answer.headers["x-moegate-replica"] == "a"
    assert answer.headers["x-moegate-attempts"] == "1"


@STREAM
def test_an_answer_to_the_end_keeps_the_connection(http: httpx.Client, a: ScriptedEngine, *, stream: bool) -> None:
    for _ in range(10):
        http.post(CHAT, json=chat(stream=stream))
    assert a.state()["connections_made"] < 5


def test_a_client_that_comes_with_http_1_0(wire: Wire, gateway: GatewayProcess) -> None:
    wire.send(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert wire.answer("GET").status_code == 200
    assert wire.socket.recv(1) == b""
