"""While nothing has reached the client, another replica may serve; what would fail everywhere alike is not tried again."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.integration.asking import CHAT, COMPLETIONS, DONE, chat, completion, error_of, payloads
from tests.support.gateway_process import GatewayProcess
from tests.support.scripted_engine.answers import SENTENCE
from tests.support.scripted_engine.process import ScriptedEngine

TRIED_ELSEWHERE = {
    "queue_full_503": "upstream_overloaded",
    "queue_full_in_200": "upstream_overloaded",
    "error_429": "upstream_overloaded",
    "refuses": "upstream_unreachable",
    "closes": "upstream_unreachable",
}
STREAM = pytest.mark.parametrize("stream", [False, True])
OPERATION = pytest.mark.parametrize(("path", "ask"), [(CHAT, chat), (COMPLETIONS, completion)])


@STREAM
@OPERATION
@pytest.mark.parametrize("fault", TRIED_ELSEWHERE)
def test_another_replica_serves(
    http: httpx.Client, b: ScriptedEngine, path: str, ask: Any, fault: str, *, stream: bool
) -> None:
    answer = http.post(path, json=ask(fault=f"{fault},only=a", stream=stream))
    assert answer.status_code == 200
    assert answer.headers["x-moegate-replica"] == "b"
    assert answer.headers["x-moegate-attempts"] == "2"
    assert payloads(answer.content)[-1] == DONE if stream else SENTENCE in answer.text
    assert b.state()["seen"] == 1


@STREAM
@pytest.mark.parametrize("fault", TRIED_ELSEWHERE)
def test_the_last_replicas_failure_is_told(http: httpx.Client, fault: str, *, stream: bool) -> None:
    answer = http.post(CHAT, json=chat(fault=fault, stream=stream))
    code = TRIED_ELSEWHERE[fault]
    error = error_of(answer, 503 if code == "upstream_overloaded" else 502, code)
    assert error["type"] == "server_error"
    assert answer.headers["x-moegate-attempts"] == "2"
    assert ("retry-after" in answer.headers) is (code == "upstream_overloaded")


@STREAM
@pytest.mark.parametrize("fault", ["queue_full_503", "queue_full_in_200"])
def test_a_full_queue_with_no_other_replica(sdk: openai.OpenAI, fault: str, *, stream: bool) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(**chat(model="solo", fault=fault, stream=stream))
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "1"
    assert caught.value.response.headers["x-moegate-attempts"] == "1"


def test_the_sdk_tries_again_by_itself_and_succeeds(sdk: openai.OpenAI, a: ScriptedEngine) -> None:
    a.next_calls("queue_full_503", "")
    patient = sdk.with_options(max_retries=1)
    assert patient.chat.completions.create(**chat(model="solo")).choices[0].message.content == SENTENCE
    assert a.state()["seen"] == 2


def test_an_error_as_a_streams_first_event_is_a_status(http: httpx.Client, b: ScriptedEngine) -> None:
    """Not an overload: every replica would fail alike."""
    answer = http.post(COMPLETIONS, json=completion(fault="midstream_error_event,after=0", stream=True))
    error_of(answer, 502, "upstream_broken")
    assert b.state()["seen"] == 0


@STREAM
def test_a_call_that_is_too_long_for_one_is_tried_on_the_others(
    http: httpx.Client, b: ScriptedEngine, *, stream: bool
) -> None:
    """Replicas of a model may take contexts of different lengths."""
    served = http.post(CHAT, json=chat(fault="error_context,only=a", stream=stream))
    assert (served.status_code, served.headers["x-moegate-replica"]) == (200, "b")
    refused = http.post(CHAT, json=chat(fault="error_context", stream=stream))
    assert error_of(refused, 400, "context_length_exceeded")["type"] == "invalid_request_error"
    assert refused.headers["x-moegate-attempts"] == "2"


@STREAM
@pytest.mark.parametrize("fault", ["error_400", "error_flat", "error_flat,status=413", "error_flat,status=422"])
def test_what_the_engine_refuses_is_not_tried_elsewhere(
    http: httpx.Client, b: ScriptedEngine, fault: str, *, stream: bool
) -> None:
    answer = http.post(CHAT, json=chat(fault=fault, stream=stream))
    status = int(fault.rpartition("=")[2]) if "status" in fault else 400
    error = error_of(answer, status, "upstream_refused")
    assert error["type"] == "invalid_request_error"  # OpenAI's word for it, whatever the engine's own is
    assert error["message"] in (
        "top_p must be above 0 and at most 1.",
        "Requested token count exceeds the limit.",
    )
    assert answer.headers["x-moegate-attempts"] == "1"
    assert b.state()["seen"] == 0


@STREAM
@pytest.mark.parametrize(
    "fault",
    [
        "error_500",
        "garbage",
        "wrong_content_type",
        "huge_header",
        "length_too_long",
        "error_flat,status=401",
        "error_flat,status=403",
        "error_flat,status=302",
    ],
)
def test_a_broken_answer_is_not_tried_elsewhere(
    http: httpx.Client, b: ScriptedEngine, fault: str, *, stream: bool
) -> None:
    """A request that breaks one engine would break the next; and a wrong key or proxy of ours is not the client's to see."""
    answer = http.post(CHAT, json=chat(fault=fault, stream=stream))
    error_of(answer, 502, "upstream_broken")
    assert answer.headers["x-moegate-attempts"] == "1"
    assert b.state()["seen"] == 0


@pytest.mark.parametrize("fault", ["midstream_cut", "midstream_reset", "endless", "huge_header"])
def test_a_whole_answer_that_breaks_off(http: httpx.Client, b: ScriptedEngine, fault: str) -> None:
    error_of(http.post(CHAT, json=chat(fault=fault)), 502, "upstream_broken")
    assert b.state()["seen"] == 0


def test_a_plain_answer_where_a_stream_was_asked_for(http: httpx.Client) -> None:
    error_of(http.post(CHAT, json=chat(fault="json_for_stream", stream=True)), 502, "upstream_broken")


@STREAM
def test_an_event_beyond_all_bounds(http: httpx.Client, gateway: GatewayProcess, *, stream: bool) -> None:
    """9 MiB as one event is refused; 9 MiB as a whole answer is not."""
    answer = http.post(CHAT, json=chat(fault="huge_event,kib=9216", stream=stream))
    if stream:
        error_of(answer, 502, "upstream_broken")
    else:
        assert len(answer.content) > 9 * 1024 * 1024


def test_a_model_name_that_the_engine_does_not_know_is_our_fault(http: httpx.Client) -> None:
    error = error_of(http.post(CHAT, json=chat(model="misnamed")), 502, "upstream_broken")
    assert "kimi-k3" not in error["message"]


@STREAM
def test_a_closed_port(
    http: httpx.Client, gateway: GatewayProcess, a: ScriptedEngine, b: ScriptedEngine, *, stream: bool
) -> None:
    """The call goes elsewhere, the replica is out until it answers a probe again, and then it serves again."""
    a.listen(accept=False, drop=True)
    try:
        answer = http.post(CHAT, json=chat(stream=stream))
        assert answer.headers["x-moegate-replica"] == "b"
        gateway.wait_metric("moegate_replica_state", 1, replica="a", state="unreachable")
        assert http.post(CHAT, json=chat(stream=stream)).headers["x-moegate-attempts"] == "1"
        assert "a-solo" not in http.get("/readyz").json()["models"]
    finally:
        a.listen(accept=True)
    gateway.wait_at_rest()
    assert http.post(CHAT, json=chat(stream=stream)).headers["x-moegate-replica"] == "a"


def test_nobody_there(http: httpx.Client, gateway: GatewayProcess, a: ScriptedEngine, b: ScriptedEngine) -> None:
    for engine in (a, b):
        engine.listen(accept=False, drop=True)
    try:
        answer = http.post(CHAT, json=chat())
        error_of(answer, 502, "upstream_unreachable")
        assert answer.headers["x-moegate-attempts"] == "2"
        gateway.wait_metric("moegate_replica_state", 1, replica="b", state="unreachable")
        answer = http.post(CHAT, json=chat())
        error = error_of(answer, 503, "no_replica_available")
        assert error["message"] == "No replica of kimi-k2 is ready: a is unreachable; b is unreachable."
        assert answer.headers["retry-after"] == "1"
    finally:
        for engine in (a, b):
            engine.listen(accept=True)


def test_every_try_is_counted(http: httpx.Client, gateway: GatewayProcess) -> None:
    before = gateway.metric("moegate_attempts_total", replica="a", error="upstream_overloaded")
    served = gateway.metric("moegate_attempts_total", replica="b", error="")
    http.post(CHAT, json=chat(fault="queue_full_503,only=a"))
    gateway.wait_metric("moegate_attempts_total", before + 1, replica="a", error="upstream_overloaded")
    gateway.wait_metric("moegate_attempts_total", served + 1, replica="b", error="")
