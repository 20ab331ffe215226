"""A stream that fails after its start ends with one error event and without [DONE], and every event before it has arrived."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import openai
import pytest

from tests.integration.asking import CHAT, COMPLETIONS, DONE, assert_private, chat, completion, payloads
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess
from tests.support.scripted_engine.process import ScriptedEngine

# More chunks than one read of a socket brings: so the stream has begun when it fails.
MANY = 3000
FAILURES = [
    "midstream_cut,after=2500",
    "midstream_error_event,after=2500",
    "finish_abort,after=2500",
    "midstream_cut",
    "no_done",
    "bad_chunk_size",
]


def error_event(stream: bytes) -> dict[str, Any]:
    """The one error event of a stream, which is its last and not followed by [DONE]."""
    events = payloads(stream)
    assert DONE not in events
    assert [event for event in events if b'"error"' in event] == events[-1:]
    error: dict[str, Any] = msgspec.json.decode(events[-1])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("fault", FAILURES)
@pytest.mark.parametrize(("path", "ask"), [(CHAT, chat), (COMPLETIONS, completion)])
def test_one_error_event_and_no_done(http: httpx.Client, b: ScriptedEngine, path: str, ask: Any, fault: str) -> None:
    answer = http.post(path, json=ask(fault=fault, stream=True, max_tokens=MANY))
    assert answer.status_code == 200
    assert_private(answer)
    error = error_event(answer.content)
    assert (error["code"], error["type"]) == ("upstream_broken", "server_error")
    if "2500" in fault:
        assert len([event for event in payloads(answer.content) if b'" ' in event]) == 2500
    assert b.state()["seen"] == 0


@pytest.mark.parametrize("fault", [fault for fault in FAILURES if "," not in fault])
def test_the_sdk_raises(sdk: openai.OpenAI, fault: str) -> None:
    with sdk.chat.completions.create(**chat(fault=fault, stream=True)) as stream:
        assert next(stream).choices[0].delta.role == "assistant"
        with pytest.raises(openai.APIError, match="broken off or unreadable"):
            list(stream)


def test_a_reset_connection(wire: Wire, a: ScriptedEngine) -> None:
    wire.ask(chat(fault="midstream_reset,after=2,gate=g", stream=True), CHAT, "connection: close")
    first = wire.read_to(b"mixture")
    a.wait(waiting=1)
    a.release("g")
    error = error_event(first.partition(b"\r\n\r\n")[2] + wire.read_to(b"\r\n0\r\n\r\n"))
    assert error["code"] == "upstream_broken"


def test_what_a_reader_of_events_skips_is_passed_on(http: httpx.Client) -> None:
    """Lines that are no field of an event mean nothing to a reader (WHATWG HTML, 9.2.6), nor to the gateway."""
    answer = http.post(CHAT, json=chat(fault="garbage_in_stream", stream=True))
    assert b"\n\n\xff\xfe\x00not an event\x00\n\n" in answer.content
    assert payloads(answer.content)[-1] == DONE


def test_a_connection_that_breaks_after_done_is_nobodys_loss(http: httpx.Client, gateway: GatewayProcess) -> None:
    before = gateway.metric("moegate_calls_total", ending="completed")
    answer = http.post(CHAT, json=chat(fault="midstream_cut,after=2999", stream=True, max_tokens=2000))
    assert payloads(answer.content)[-1] == DONE
    gateway.wait_metric("moegate_calls_total", before + 1, ending="completed")


def test_a_cut_stream_counts_as_failed(http: httpx.Client, gateway: GatewayProcess) -> None:
    labels = {"replica": "a", "ending": "failed", "error": "upstream_broken"}
    before = gateway.metric("moegate_calls_total", **labels)
    http.post(CHAT, json=chat(fault="midstream_cut", stream=True))
    gateway.wait_metric("moegate_calls_total", before + 1, **labels)


def test_the_next_call_is_served_by_the_same_replica(http: httpx.Client) -> None:
    """A broken stream says nothing of the engine's health; only a refused connection does."""
    http.post(CHAT, json=chat(fault="midstream_cut", stream=True))
    assert http.post(CHAT, json=chat()).headers["x-moegate-replica"] == "a"
