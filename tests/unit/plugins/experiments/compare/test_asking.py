"""One answer off the wire: what is taken from its events, which failures are the arm's, and which stop a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from plugins.experiments.compare.arms import Arm
from plugins.experiments.compare.asking import StopRun, Target, ask
from plugins.experiments.compare.results import Answer, ToolCall

TARGET = Target(url="http://gateway", model="kimi-k2", timeout_seconds=5, changes={"temperature": 0.5})
BODY = {"messages": [{"role": "user", "content": "Hello!"}], "temperature": 1}
DONE = "data: [DONE]\n\n"

Handler = Callable[[httpx.Request], httpx.Response]


async def asked(handler: Handler) -> Answer:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        return await ask(client, TARGET, Arm("backend", "vllm"), BODY)


def event(**choice: Any) -> str:
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


def delta(finish: str | None = None, **said: Any) -> str:
    return event(delta=said, finish_reason=finish)


def streamed(*events: str, **headers: str) -> Handler:
    return lambda _: httpx.Response(200, headers=headers, content="".join(events).encode())


def refused(status: int, message: str, code: str = "") -> Handler:
    headers = {"x-moegate-error": code} if code else {}
    return lambda _: httpx.Response(status, headers=headers, json={"error": {"message": message}})


async def test_a_whole_answer_is_taken() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
    top = [{"token": "x", "logprob": -0.1}, {"token": "He", "logprob": -0.5}]
    logprobs = {"content": [{"token": "He", "logprob": -0.5, "top_logprobs": top}]}
    events = [
        delta(role="assistant", content=""),
        event(delta={"reasoning": "hm"}, finish_reason=None),
        event(delta={"content": "He"}, logprobs=logprobs),
        delta(content="llo"),
        delta("stop"),
        f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n",
        DONE,
    ]
    headers = {"x-moegate-replica": "v1", "x-moegate-attempts": "2", "x-moegate-transforms": "tool_ids"}
    answer = await asked(streamed(": ping\n\n", *events, **headers))
    assert (answer.error, answer.text, answer.reasoning, answer.finish_reason) == ("", "Hello", "hm", "stop")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (9, 4, 3)
    assert answer.tokens == [("He", -0.5, "x")]
    assert (answer.replica, answer.attempts, answer.transforms) == ("v1", 2, "tool_ids")
    assert answer.ttft_seconds is not None


async def test_tool_calls_are_put_together_by_their_index() -> None:
    def part(index: int, **function: str) -> str:
        return delta(tool_calls=[{"index": index, "id": f"id-{index}", "function": function}])

    answer = await asked(
        streamed(
            part(1, name="leap"),
            part(0, name="look"),
            part(0, arguments='{"ci'),
            part(0, arguments='ty":"Oslo"}'),
            delta("tool_calls"),
            DONE,
        )
    )
    assert answer.tool_calls == [ToolCall("look", '{"city":"Oslo"}', "id-0"), ToolCall("leap", "", "id-1")]


async def test_what_is_sent_is_pinned_and_streamed_and_changed() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=(delta("stop", content="x") + DONE).encode())

    await asked(handler)
    sent = json.loads(seen[0].content)
    assert seen[0].headers["x-moegate-pin"] == "backend=vllm"
    assert (sent["model"], sent["stream"], sent["temperature"]) == ("kimi-k2", True, 0.5)
    assert sent["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (streamed(delta(content="x")), "cut_short"),
        (streamed(delta(content="x"), DONE), "no_finish_reason"),
        (streamed('data: {"error": {"message": "queue full"}}\n\n', DONE), "error_event"),
        (streamed("data: {\n\n", DONE), "bad_event"),
        (streamed("data: 3\n\n", DONE), "bad_event"),
        (streamed('data: {"choices": [3]}\n\n', DONE), "bad_event"),
        (refused(502, "broken", "upstream_broken"), "upstream_broken"),
        (refused(400, "too long"), "status_400"),
    ],
)
async def test_what_goes_wrong_in_an_arm_is_an_error_of_it(handler: Handler, error: str) -> None:
    assert (await asked(handler)).error == error


@pytest.mark.parametrize(
    "handler",
    [
        refused(401, "no such key", "invalid_api_key"),
        refused(403, "no scope", "rejected"),
        refused(404, "no model", "model_not_found"),
        refused(429, "used up", "quota_exceeded"),
        refused(400, "has no backend to which x-moegate-pin pins this call", "invalid_request"),
    ],
)
async def test_what_is_nobody_s_arm_stops_the_run(handler: Handler) -> None:
    with pytest.raises(StopRun):
        await asked(handler)


async def test_a_gateway_that_is_gone_stops_the_run() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(StopRun, match="does not answer at http://gateway"):
        await asked(handler)
