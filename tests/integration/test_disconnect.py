"""A client that leaves takes its work with it: the engine stops, the slot is free, and the call counts as disconnected."""

from __future__ import annotations

import random
from contextlib import ExitStack

import httpx
import pytest

from tests.integration.asking import CHAT, chat
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, poll
from tests.support.scripted_engine.process import ScriptedEngine

DISCONNECTED = {"ending": "disconnected", "error": ""}
STREAM = pytest.mark.parametrize("stream", [False, True])
RESET = pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])


class Endings:
    """How many calls have ended, and how, since this was made."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        count = self._gateway.metric
        return count("moegate_calls_total", **DISCONNECTED), count("moegate_calls_total")

    def wait(self, *, disconnected: int, all_calls: int) -> None:
        """Wait until so many have."""
        left, ended = self._before
        poll(
            lambda: self._now() == (left + disconnected, ended + all_calls),
            f"{disconnected} of {all_calls} calls disconnected",
        )


@pytest.fixture
def endings(gateway: GatewayProcess) -> Endings:
    """The endings of this test."""
    return Endings(gateway)


@RESET
@STREAM
@pytest.mark.parametrize("fault", ["first_byte_stall", "hang_after_headers"])
def test_before_the_first_byte(
    wire: Wire, gateway: GatewayProcess, a: ScriptedEngine, endings: Endings, fault: str, *, stream: bool, reset: bool
) -> None:
    wire.ask(chat(fault=fault, stream=stream))
    a.wait(waiting=1, running=1)
    assert gateway.metric("moegate_replica_in_flight", replica="a") == 1
    wire.leave(reset=reset)
    a.wait(running=0, aborted=1)
    endings.wait(disconnected=1, all_calls=1)
    assert gateway.at_rest()


@RESET
def test_in_the_middle_of_a_silent_stream(
    wire: Wire, gateway: GatewayProcess, a: ScriptedEngine, endings: Endings, *, reset: bool
) -> None:
    wire.ask(chat(fault="slow,after=2", stream=True))
    wire.read_to(b"mixture")
    a.wait(waiting=1, running=1)
    wire.leave(reset=reset)
    a.wait(running=0, aborted=1)
    endings.wait(disconnected=1, all_calls=1)
    assert gateway.at_rest()


@RESET
def test_in_the_middle_of_a_busy_stream(
    wire: Wire, gateway: GatewayProcess, a: ScriptedEngine, endings: Endings, *, reset: bool
) -> None:
    wire.ask(chat(fault="endless", stream=True))
    wire.read_to(b" more")
    wire.leave(reset=reset)
    a.wait(running=0, aborted=1)
    endings.wait(disconnected=1, all_calls=1)
    assert gateway.at_rest()


@STREAM
def test_during_the_second_attempt(
    wire: Wire, a: ScriptedEngine, b: ScriptedEngine, endings: Endings, *, stream: bool
) -> None:
    a.next_calls("queue_full_in_200")
    b.next_calls("first_byte_stall")
    wire.ask(chat(stream=stream))
    b.wait(waiting=1)
    wire.leave()
    b.wait(running=0, aborted=1)
    endings.wait(disconnected=1, all_calls=1)
    assert a.state()["seen"] == 1


@RESET
def test_during_the_upload(
    wire: Wire, gateway: GatewayProcess, http: httpx.Client, a: ScriptedEngine, endings: Endings, *, reset: bool
) -> None:
    """No engine has heard of it, and it never was a call."""
    connected = gateway.clients
    wire.head("content-length: 100000")
    wire.send(b'{"model":"kimi-k2","messages":[' + b" " * 50_000)
    wire.leave(reset=reset)
    poll(lambda: gateway.clients == connected - 1, "the connection is gone")
    assert http.post(CHAT, json=chat()).is_success
    assert a.state()["seen"] == 1
    endings.wait(disconnected=0, all_calls=1)
    assert gateway.at_rest()


def test_after_the_answer_is_no_disconnect(wire: Wire, a: ScriptedEngine, endings: Endings) -> None:
    wire.ask(chat(stream=True))
    wire.read_to(b"[DONE]")
    wire.leave(reset=True)
    endings.wait(disconnected=0, all_calls=1)
    assert a.wait(running=0)["aborted"] == 0


def test_the_connection_to_the_engine_is_not_used_again(wire: Wire, http: httpx.Client, a: ScriptedEngine) -> None:
    """What is left of the abandoned answer must not become the next caller's."""
    wire.ask(chat(fault="endless", stream=True))
    wire.read_to(b" more")
    wire.leave()
    a.wait(running=0, aborted=1)
    answer = http.post(CHAT, json=chat())
    assert " more" not in answer.text
    assert answer.json()["choices"][0]["finish_reason"] == "stop"


def test_another_client_is_not_disturbed(wire: Wire, gateway: GatewayProcess, key: str, a: ScriptedEngine) -> None:
    with Wire(gateway.port, key) as other:
        other.ask(chat(fault="slow,after=2,gate=other", stream=True))
        other.read_to(b"mixture")
        wire.ask(chat(fault="slow,after=2,gate=gone", stream=True))
        wire.read_to(b"mixture")
        wire.leave(reset=True)
        a.wait(running=1, aborted=1)
        assert a.release("other") == 1
        other.read_to(b"[DONE]")
    assert a.wait(running=0)["finished"] == 1


def test_fifty_clients_leave_at_random(
    gateway: GatewayProcess, http: httpx.Client, key: str, a: ScriptedEngine, endings: Endings
) -> None:
    dice = random.Random(50)
    connected = gateway.clients
    before_first_byte, streaming, uploading = 0, 0, 0
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(gateway.port, key)) for _ in range(50)]
        for wire in wires:
            match dice.choice(["stall", "hang", "slow", "endless", "upload", "head"]):
                case "stall" | "hang" as kind:
                    fault = {"stall": "first_byte_stall", "hang": "hang_after_headers"}[kind]
                    wire.ask(chat(fault=fault, stream=dice.random() < 0.5))
                    before_first_byte += 1
                case "slow" | "endless" as kind:
                    wire.ask(chat(fault=kind, stream=True))
                    wire.read_to(b"content")
                    streaming += 1
                case "upload":
                    wire.head("content-length: 5000")
                    wire.send(b"{" * dice.randrange(5000))
                    uploading += 1
                case _:
                    wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost"[: dice.randrange(1, 40)])
        calls = before_first_byte + streaming
        assert min(before_first_byte, streaming, uploading) > 5
        a.wait(running=calls)
        dice.shuffle(wires)
        for wire in wires:
            wire.leave(reset=dice.random() < 0.5)
    a.wait(running=0, aborted=calls)
    endings.wait(disconnected=calls, all_calls=calls)
    gateway.wait_at_rest()
    poll(lambda: gateway.clients <= connected, "no connection is left")
    assert a.state()["violations"] == 0
    assert http.post(CHAT, json=chat()).headers["x-moegate-replica"] == "a"
