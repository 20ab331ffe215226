"""Messages, counting, responses and tokenizing go the same way as chat, and speak of what went wrong in their own API's words."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import PROMPT, assert_private, error_of, payloads
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess
from tests.support.scripted_engine.process import ScriptedEngine

Json = dict[str, Any]

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
RESPONSES = "/v1/responses"
TOKENIZE = "/tokenize"
CONVERSATION = [{"role": "user", "content": PROMPT}]
FIELDS: dict[str, Json] = {
    MESSAGES: {"messages": CONVERSATION, "max_tokens": 5},
    COUNT_TOKENS: {"messages": CONVERSATION},
    RESPONSES: {"input": PROMPT},
    TOKENIZE: {"prompt": PROMPT},
}
PATHS = pytest.mark.parametrize("path", FIELDS)
STREAMED = pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
ANTHROPIC = pytest.mark.parametrize("path", [MESSAGES, COUNT_TOKENS])


def asked(path: str, *, fault: str = "", model: str = "kimi-k2", **fields: Any) -> Json:
    """A request; the fault stands where this API says whom a call is for."""
    body = {"model": model, **FIELDS[path], **fields}
    if not fault:
        return body
    marker = f"[[fault:{fault}]]"
    return {**body, "metadata": {"user_id": marker}} if path == MESSAGES else {**body, "user": marker}


def anthropic_error(answer: httpx.Response, status: int, code: str, kind: str) -> Json:
    """The error of an answer in Anthropic's shape."""
    assert answer.status_code == status, answer.text
    assert_private(answer)
    body: Json = answer.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["error"]["message"]
    assert answer.headers["x-moegate-error"] == code
    assert body["request_id"] == answer.headers["x-moegate-call-id"]
    return dict(body["error"])


@PATHS
def test_every_operation_is_served(http: httpx.Client, a: ScriptedEngine, path: str) -> None:
    answer = http.post(path, json=asked(path))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-moegate-replica"] == "a"
    assert a.state()["last"]["path"] == path
    expected = {MESSAGES: "content", COUNT_TOKENS: "input_tokens", RESPONSES: "output", TOKENIZE: "tokens"}
    assert expected[path] in answer.json()


@STREAMED
def test_a_stream_is_one_and_tells_of_its_usage_unasked(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json=asked(path, stream=True))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    names = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert names[-1] == {MESSAGES: "message_stop", RESPONSES: "response.completed"}[path]
    assert len(names) == len(payloads(answer.content))
    assert "output_tokens" in answer.text


@PATHS
def test_it_is_counted_by_its_operation(http: httpx.Client, gateway: GatewayProcess, path: str) -> None:
    operation = {MESSAGES: "messages", COUNT_TOKENS: "count_tokens", RESPONSES: "responses", TOKENIZE: "tokenize"}[path]
    labels = {"operation": operation, "ending": "completed", "replica": "a"}
    before = gateway.metric("moegate_calls_total", **labels)
    assert http.post(path, json=asked(path)).is_success
    gateway.wait_metric("moegate_calls_total", before + 1, **labels)


def test_the_openai_sdk_s_responses(sdk: openai.OpenAI) -> None:
    answer = sdk.responses.create(model="kimi-k2", input=PROMPT)
    assert answer.status == "completed"
    assert answer.output_text
    with sdk.responses.create(model="kimi-k2", input=PROMPT, stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "response.completed"


def test_the_openai_sdk_s_responses_that_break_off(sdk: openai.OpenAI) -> None:
    """The SDK gives the error event to its caller; its number goes on from the event before it."""
    marker = "[[fault:midstream_cut,after=2]]"
    with sdk.responses.create(model="kimi-k2", input=PROMPT, stream=True, user=marker) as stream:
        events = list(stream)
    assert events[-1].type == "error"
    assert events[-1].code == "upstream_broken"
    assert events[-1].sequence_number == len(events) - 1


# What is wrong with a request


@PATHS
def test_a_model_that_is_not_here(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json=asked(path, model="nobody"))
    if path in (MESSAGES, COUNT_TOKENS):
        anthropic_error(answer, 404, "model_not_found", "not_found_error")
    else:
        error_of(answer, 404, "model_not_found")


@ANTHROPIC
def test_anthropic_s_endpoints_refuse_in_anthropic_s_words(
    http: httpx.Client, gateway: GatewayProcess, a: ScriptedEngine, path: str
) -> None:
    anthropic_error(http.post(path, content=b"{"), 400, "invalid_request", "invalid_request_error")
    anthropic_error(http.post(path, json={"model": "kimi-k2"}), 400, "invalid_request", "invalid_request_error")
    anthropic_error(http.post(path, content=b"x" * 2_000_000), 413, "body_too_large", "request_too_large")
    method = http.get(path)
    anthropic_error(method, 405, "method_not_allowed", "invalid_request_error")
    assert method.headers["allow"] == "POST"
    anthropic_error(http.post(f"{path}/other", json={}), 404, "not_found", "not_found_error")
    stranger = gateway.http.post(path, json=asked(path), headers={"x-api-key": generate_key()})
    anthropic_error(stranger, 401, "invalid_api_key", "authentication_error")
    assert a.state()["seen"] == 0


@ANTHROPIC
def test_anthropic_s_clients_send_their_key_in_a_header_of_its_own(
    gateway: GatewayProcess, key: str, path: str
) -> None:
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    assert gateway.http.post(path, json=asked(path), headers=headers).is_success


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (RESPONSES, {"background": True}, "background"),
        (RESPONSES, {"previous_response_id": "resp_1"}, "previous_response_id"),
        (RESPONSES, {"input": []}, "input"),
        (TOKENIZE, {"messages": CONVERSATION}, "prompt"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    http: httpx.Client, a: ScriptedEngine, path: str, fields: Json, param: str
) -> None:
    assert error_of(http.post(path, json=asked(path, **fields)), 400, "invalid_request")["param"] == param
    assert a.state()["seen"] == 0


# What goes wrong behind us


@STREAMED
@pytest.mark.parametrize("stream", [False, True])
def test_a_full_engine_is_left_for_another(http: httpx.Client, path: str, *, stream: bool) -> None:
    answer = http.post(path, json=asked(path, fault="queue_full_503,only=a", stream=stream))
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-moegate-replica"], answer.headers["x-moegate-attempts"]) == ("b", "2")


def test_when_all_are_full_anthropic_s_clients_read_overloaded(http: httpx.Client) -> None:
    answer = http.post(MESSAGES, json=asked(MESSAGES, fault="queue_full_503"))
    anthropic_error(answer, 503, "upstream_overloaded", "overloaded_error")
    assert answer.headers["retry-after"]


@STREAMED
def test_a_stream_that_is_cut_ends_with_an_error_event(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json=asked(path, fault="midstream_cut,after=2", stream=True))
    assert answer.status_code == 200
    assert_private(answer)
    last = answer.text.removesuffix("\n\n").split("\n\n")[-1]
    assert last.startswith("event: error\ndata: {")
    assert ("api_error" if path == MESSAGES else "upstream_broken") in last
    assert "message_stop" not in answer.text
    assert "response.completed" not in answer.text


@STREAMED
def test_a_client_that_leaves_a_stream(wire: Wire, gateway: GatewayProcess, a: ScriptedEngine, path: str) -> None:
    wire.ask(asked(path, fault="slow,after=2", stream=True), path)
    wire.read_to(b"delta")
    a.wait(waiting=1, running=1)
    wire.leave()
    a.wait(running=0, aborted=1)
    gateway.wait_at_rest()
