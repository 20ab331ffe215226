"""Every operation through a whole gateway in this process: what its caller gets, and what a backend is told of the call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway import Call, Operation, Replica, UpstreamRequest
from gateway.errors import UpstreamBroken
from tests.unit.fakes import EVENT_STREAM, FakeBackend, FakeResponse
from tests.unit.gateway.in_process import Answer, config, replica, running
from tests.unit.gateway.plugin_modules import extension, plugin

MESSAGES = [{"role": "user", "content": "hi"}]
PATHS = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETIONS: "/v1/completions",
    Operation.RESPONSES: "/v1/responses",
    Operation.MESSAGES: "/v1/messages",
    Operation.COUNT_TOKENS: "/v1/messages/count_tokens",
    Operation.TOKENIZE: "/tokenize",
}
FIELDS: dict[Operation, dict[str, Any]] = {
    Operation.CHAT: {"messages": MESSAGES},
    Operation.COMPLETIONS: {"prompt": "hi"},
    Operation.RESPONSES: {"input": "hi"},
    Operation.MESSAGES: {"messages": MESSAGES, "max_tokens": 5},
    Operation.COUNT_TOKENS: {"messages": MESSAGES},
    Operation.TOKENIZE: {"prompt": "hi"},
}
ANTHROPIC = (Operation.MESSAGES, Operation.COUNT_TOKENS)
STREAMED = (Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES, Operation.MESSAGES)


def body(operation: Operation, **fields: Any) -> bytes:
    return json.dumps({"model": "kimi-k2", **FIELDS[operation], **fields}).encode()


def stream(*pieces: Any) -> FakeResponse:
    return FakeResponse(headers=EVENT_STREAM, pieces=pieces)


def message_of(operation: Operation, answer: Answer) -> str:
    """The text of an error, whose shape must be that of the operation."""
    found = json.loads(answer.body)
    if operation in ANTHROPIC:
        assert (found["type"], found["request_id"]) == ("error", answer.headers["x-moegate-call-id"])
    else:
        assert set(found["error"]) == {"message", "type", "param", "code"}
    return str(found["error"]["message"])


@pytest.mark.parametrize("operation", Operation)
async def test_every_operation_is_served(operation: Operation) -> None:
    async with running(replies=(FakeResponse(pieces=[b'{"a": 1}']),)) as gateway:
        answer = await gateway.ask(PATHS[operation], body(operation))
    assert (answer.status, answer.body) == (200, b'{"a": 1}')
    assert answer.headers["x-moegate-replica"] == "a"


@pytest.mark.parametrize("operation", STREAMED)
async def test_a_stream_comes_with_the_headers_of_one(operation: Operation) -> None:
    async with running(replies=(stream(b"data: a\n\n", b"data: [DONE]\n\n"),)) as gateway:
        answer = await gateway.ask(PATHS[operation], body(operation, stream=True))
    assert answer.chunks == [b"data: a\n\n", b"data: [DONE]\n\n"]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")


@pytest.mark.parametrize("operation", [Operation.COUNT_TOKENS, Operation.TOKENIZE])
async def test_what_has_no_stream_is_answered_whole_whatever_is_asked_for(operation: Operation) -> None:
    async with running(replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        answer = await gateway.ask(PATHS[operation], body(operation, stream=True))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")


class Listens(FakeBackend):
    """Keeps the calls that it was to prepare."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
        self.calls.append(call)
        return super().prepare(call, replica, attempt_id)


async def test_a_backend_is_told_all_of_a_call() -> None:
    listens = Listens()
    settings = config(replicas=[replica("a", backend="listens")])
    async with running(
        plugin(moegate_backends=lambda: [extension("listens", listens)]),
        settings=settings,
        replies=(FakeResponse(pieces=[b"{}"]), stream(b"data: [DONE]\n\n")),
    ) as gateway:
        sent = body(Operation.COUNT_TOKENS, tools=[{}])
        headers = {"anthropic_version": "2023-06-01", "anthropic_beta": "a,b", "x_vllm_priority": "-9"}
        await gateway.ask(PATHS[Operation.COUNT_TOKENS], sent, **headers)
        await gateway.ask(
            PATHS[Operation.MESSAGES], body(Operation.MESSAGES, stream=True, metadata={"user_id": "u"}), **headers
        )
    count, messages = listens.calls
    assert (count.operation, count.body, count.stream, count.has_tools) == (Operation.COUNT_TOKENS, sent, False, True)
    assert {name: bytes(value) for name, value in count.fields.items()} == {
        "model": b'"kimi-k2"',
        "messages": json.dumps(MESSAGES).encode(),
        "tools": b"[{}]",
    }
    assert (messages.stream, messages.wants_usage, messages.max_tokens, messages.user) == (True, True, 5, "u")
    assert {(b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"a,b")} <= set(messages.headers)


# Errors


@pytest.mark.parametrize("operation", Operation)
async def test_an_error_is_in_the_words_of_its_operation(operation: Operation) -> None:
    async with running(replies=(FakeResponse(422, pieces=[b"the engine's words"]),)) as gateway:
        wrong = await gateway.ask(PATHS[operation], b"{}")
        unknown = await gateway.ask(PATHS[operation], body(operation).replace(b"kimi-k2", b"nobody"))
        refused = await gateway.ask(PATHS[operation], body(operation))
        method = await gateway.ask(PATHS[operation], method="GET")
        below = await gateway.ask(f"{PATHS[operation]}/nothing", body(operation))
    assert [answer.status for answer in (wrong, unknown, refused, method, below)] == [400, 404, 422, 405, 404]
    assert message_of(operation, wrong).startswith(("model: ", "messages: ", "max_tokens: ", "prompt: ", "input: "))
    assert "no model 'nobody'" in message_of(operation, unknown)
    assert message_of(operation, refused) == "the engine's words"
    assert method.headers["allow"] == "POST"
    for answer in (method, below):
        assert message_of(operation, answer)
        assert answer.headers["x-moegate-error"] in ("method_not_allowed", "not_found")


@pytest.mark.parametrize("operation", STREAMED)
async def test_a_stream_that_breaks_off_ends_in_the_words_of_its_operation(operation: Operation) -> None:
    async with running(replies=(stream(b"data: a\n\n", b"data: b\n\n", UpstreamBroken("cut")),)) as gateway:
        answer = await gateway.ask(PATHS[operation], body(operation, stream=True))
    assert answer.chunks[:2] == [b"data: a\n\n", b"data: b\n\n"]
    (last,) = answer.chunks[2:]
    name, _, payload = last.decode().removesuffix("\n\n").rpartition("data: ")
    found = json.loads(payload)
    if operation in ANTHROPIC:
        assert (name, found["type"], found["error"]["type"]) == ("event: error\n", "error", "api_error")
        assert found["request_id"] == answer.headers["x-moegate-call-id"]
    elif operation is Operation.RESPONSES:
        assert name == "event: error\n"
        assert (found["type"], found["code"], found["sequence_number"]) == ("error", "upstream_broken", 2)
    else:
        assert (name, found["error"]["code"]) == ("", "upstream_broken")


async def test_an_error_after_an_attempt_tells_what_was_changed_for_it() -> None:
    class Edits(FakeBackend):
        def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
            made = super().prepare(call, replica, attempt_id)
            return UpstreamRequest(made.path, made.headers, made.body, ("tool_ids",), ("store",))

    async with running(
        plugin(moegate_backends=lambda: [extension("edits", Edits())]),
        settings=config(replicas=[replica("a", backend="edits")]),
        replies=(FakeResponse(400, pieces=[b"no"]),),
    ) as gateway:
        refused = await gateway.ask()
        never_placed = await gateway.ask(body=b"{}")
    assert refused.headers["x-moegate-transforms"] == "tool_ids"
    assert refused.headers["x-moegate-dropped-params"] == "store"
    assert not {"x-moegate-transforms", "x-moegate-dropped-params"} & never_placed.headers.keys()


# Operations that not every engine has


async def test_an_operation_that_no_engine_of_the_model_has() -> None:
    class Other(FakeBackend):
        kind = "other"

    few = FakeBackend([Operation.CHAT, Operation.COMPLETIONS])
    brings = plugin(moegate_backends=lambda: [extension("few", few), extension("other", Other())])
    settings = config(replicas=[replica("a", backend="few")])
    able = config(replicas=[replica("b", backend="other")])["models"][0]
    settings["models"].append({**able, "name": "able", "aliases": []})
    async with running(brings, settings=settings) as gateway:
        refused = await gateway.ask(PATHS[Operation.MESSAGES], body(Operation.MESSAGES))
        asked = gateway.asked
    assert refused.status == 400
    assert refused.headers["x-moegate-error"] == "invalid_request"
    assert message_of(Operation.MESSAGES, refused) == (
        "No replica of kimi-k2 serves messages: its engines (fake) serve chat, completions. "
        "Models here that do: able (other)."
    )
    assert asked == []


async def test_an_operation_that_no_engine_at_all_has() -> None:
    few = FakeBackend([Operation.CHAT])
    brings = plugin(moegate_backends=lambda: [extension("few", few)])
    async with running(brings, settings=config(replicas=[replica("a", backend="few")])) as gateway:
        refused = await gateway.ask(PATHS[Operation.TOKENIZE], body(Operation.TOKENIZE))
    assert message_of(Operation.TOKENIZE, refused).endswith("Models here that do: none.")
