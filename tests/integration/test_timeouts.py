"""An engine that says nothing is given up in time: with a status before the first byte, with an error event after it."""

from __future__ import annotations

import httpx
import openai
import pytest

from tests.integration.asking import CHAT, DONE, assert_private, chat, error_of, payloads
from tests.integration.test_midstream import error_event
from tests.support.gateway_process import GatewayProcess
from tests.support.scripted_engine.process import ScriptedEngine

SILENCE = ["first_byte_stall", "hang_after_headers"]
STREAM = pytest.mark.parametrize("stream", [False, True])


@STREAM
@pytest.mark.parametrize("fault", SILENCE)
def test_silence_before_the_first_byte(http: httpx.Client, a: ScriptedEngine, fault: str, *, stream: bool) -> None:
    answer = http.post(CHAT, json=chat(model="hasty", fault=fault, stream=stream))
    error_of(answer, 504, "upstream_timeout")
    a.wait(running=0, aborted=1)


@STREAM
@pytest.mark.parametrize("fault", SILENCE)
def test_silence_of_one_replica(http: httpx.Client, a: ScriptedEngine, fault: str, *, stream: bool) -> None:
    answer = http.post(CHAT, json=chat(model="hasty-pair", fault=f"{fault},only=a", stream=stream))
    assert answer.status_code == 200
    assert answer.headers["x-moegate-replica"] == "b-hasty-pair"
    assert answer.headers["x-moegate-attempts"] == "2"
    a.wait(running=0, aborted=1)


def test_silence_in_the_middle(http: httpx.Client, a: ScriptedEngine) -> None:
    answer = http.post(CHAT, json=chat(model="hasty", fault="slow,after=3", stream=True))
    assert_private(answer)
    assert error_event(answer.content)["code"] == "upstream_timeout"
    assert len(payloads(answer.content)) == 1 + 3 + 1
    a.wait(running=0, aborted=1)


def test_the_sdk_raises_at_silence_in_the_middle(sdk: openai.OpenAI) -> None:
    with (
        sdk.chat.completions.create(**chat(model="hasty", fault="slow,after=3", stream=True)) as stream,
        pytest.raises(openai.APIError, match="did not answer in time"),
    ):
        list(stream)


def test_a_slow_stream_is_not_a_silent_one(http: httpx.Client) -> None:
    """The whole takes longer than either timeout; no pause in it does."""
    answer = http.post(
        CHAT, json=chat(model="hasty", fault="event_across_packets,pause_ms=60", stream=True, max_tokens=9)
    )
    assert payloads(answer.content)[-1] == DONE
    assert answer.elapsed.total_seconds() > 0.5


@STREAM
def test_a_timeout_is_counted_as_one(http: httpx.Client, gateway: GatewayProcess, *, stream: bool) -> None:
    before = gateway.metric("moegate_calls_total", ending="timed_out", error="upstream_timeout")
    http.post(CHAT, json=chat(model="hasty", fault="first_byte_stall", stream=stream))
    gateway.wait_metric("moegate_calls_total", before + 1, ending="timed_out", error="upstream_timeout")


def test_a_stream_without_end_ends_with_its_reader(http: httpx.Client, a: ScriptedEngine) -> None:
    with http.stream("POST", CHAT, json=chat(fault="endless", stream=True)) as answer:
        read = 0
        for line in answer.iter_lines():
            read += line.startswith("data: ")
            if read == 200:
                break
    a.wait(running=0, aborted=1)
