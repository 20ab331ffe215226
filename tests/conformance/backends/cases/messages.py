"""Anthropic's Messages API with the official SDK: text, streams, tools, thinking, counting, and errors in its own words."""

from __future__ import annotations

import json
import re
from typing import Any

import anthropic
import httpx
import pytest

from tests.conformance.backends.asking import (
    ANTHROPIC_TOOLS,
    COUNT_TOKENS,
    MESSAGES,
    PARIS,
    PRIVATE,
    SUM,
    Json,
    faulty,
    listed,
    names,
)
from tests.conformance.backends.case import Feature, Need, case, refusal
from tests.conformance.backends.target import Target

ID = re.compile(r"[a-zA-Z0-9_-]+")
VERSION = {"anthropic-version": "2023-06-01"}


def body(target: Target, messages: list[Json] | None = None, **fields: Any) -> Json:
    """A request; the same for count_tokens but for the limit."""
    return {"model": target.model, "messages": messages or SUM, "max_tokens": 96, "temperature": 0, **fields}


def arguments(target: Target, messages: list[Json] | None = None, **fields: Any) -> Json:
    """The same for the SDK, which knows no temperature any more."""
    asked = body(target, messages, **fields)
    temperature = asked.pop("temperature")
    return {**asked, "extra_body": {"temperature": temperature}}


def ask(target: Target, messages: list[Json] | None = None, **fields: Any) -> Any:
    """Ask by the SDK."""
    return target.anthropic.messages.create(**arguments(target, messages, **fields))


def said(message: Any) -> str:
    """The text of a message."""
    return "".join(block.text for block in message.content if block.type == "text")


def uses(message: Any) -> list[Any]:
    """The tool calls of a message."""
    return [block for block in message.content if block.type == "tool_use"]


def streamed(target: Target, messages: list[Json] | None = None, **fields: Any) -> Any:
    """Ask for a stream and let the SDK put it together."""
    with target.anthropic.messages.stream(**arguments(target, messages, **fields)) as stream:
        return stream.get_final_message()


@case("messages", Feature.MESSAGES)
def a_plain_message_is_whole(target: Target) -> None:
    message = ask(target)
    assert "7" in said(message)
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.model == target.model
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


@case("messages", Feature.MESSAGES)
def a_stream_says_the_same(target: Target) -> None:
    message, wanted = streamed(target), ask(target)
    assert said(message) == said(wanted)
    assert (message.model, message.stop_reason) == (target.model, "end_turn")
    assert message.usage.output_tokens == wanted.usage.output_tokens


@case("messages", Feature.MESSAGES)
def a_stream_has_anthropics_events_in_their_order(target: Target) -> None:
    answer = target.post(MESSAGES, body(target, stream=True), **VERSION)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = [name for name in names(answer.content) if name != "ping"]
    assert found[0] == "message_start"
    assert found[1] == "content_block_start"
    assert found[-2:] == ["message_delta", "message_stop"]
    assert found.count("content_block_start") == found.count("content_block_stop")
    assert b"[DONE]" not in answer.content


@case("messages", Feature.MESSAGES)
def a_system_prompt_and_blocks_are_taken(target: Target) -> None:
    blocks = [{"role": "user", "content": [{"type": "text", "text": SUM[0]["content"]}]}]
    assert "7" in said(ask(target, blocks, system="You are Kimi."))
    assert "7" in said(ask(target, blocks, system=[{"type": "text", "text": "You are Kimi."}]))


@case("messages", Feature.MESSAGES)
def max_tokens_ends_the_message(target: Target) -> None:
    message = ask(target, max_tokens=2)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)
    assert streamed(target, max_tokens=2).stop_reason == "max_tokens"


@case("messages", Feature.MESSAGES)
def a_stop_sequence_ends_the_message(target: Target) -> None:
    message = ask(target, stop_sequences=["="])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "=")
    assert "=" not in said(message)


@case("messages", Feature.MESSAGES)
def both_ways_to_send_the_key_are_taken(target: Target) -> None:
    with httpx.Client(base_url=str(target.anthropic.base_url), trust_env=False, verify=False, timeout=60) as stranger:
        for headers in ({"x-api-key": target.clients.key}, {"authorization": f"Bearer {target.clients.key}"}):
            assert stranger.post(MESSAGES, json=body(target), headers={**VERSION, **headers}).status_code == 200


# -- tools ------------------------------------------------------------------------------------------------------------


def check_use(message: Any) -> Any:
    """One call of the weather in Paris, under an id that Anthropic's clients take."""
    (use,) = uses(message)
    assert (use.name, use.input, message.stop_reason) == ("get_weather", {"city": "Paris"}, "tool_use")
    assert ID.fullmatch(use.id), use.id
    return use


@case("messages", Feature.MESSAGES, Feature.TOOLS)
def a_needed_tool_is_used(target: Target) -> None:
    check_use(ask(target, [PARIS], tools=ANTHROPIC_TOOLS))


@case("messages", Feature.MESSAGES, Feature.TOOLS)
def a_streamed_use_is_the_same_use(target: Target) -> None:
    wanted = check_use(ask(target, [PARIS], tools=ANTHROPIC_TOOLS))
    assert check_use(streamed(target, [PARIS], tools=ANTHROPIC_TOOLS)).id == wanted.id


@case("messages", Feature.MESSAGES, Feature.TOOLS)
def the_result_of_a_tool_is_used(target: Target) -> None:
    message = ask(target, [PARIS], tools=ANTHROPIC_TOOLS)
    turn = {
        "role": "assistant",
        "content": [block.model_dump() for block in message.content if block.type == "tool_use"],
    }
    result = {"type": "tool_result", "tool_use_id": uses(message)[0].id, "content": "rainy"}
    answer = ask(target, [PARIS, turn, {"role": "user", "content": [result]}], tools=ANTHROPIC_TOOLS)
    assert "rainy" in said(answer)


@case("messages", Feature.MESSAGES, Feature.TOOLS, Need.DOOR)
def a_clients_ids_are_renumbered_for_the_engine(target: Target) -> None:
    turn = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rainy"}
    history = [PARIS, turn, {"role": "user", "content": [result]}]
    raw = target.anthropic.messages.with_raw_response.create(**arguments(target, history, tools=ANTHROPIC_TOOLS))
    sent = target.sent()["messages"]
    assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"] == "functions.get_weather:0"
    assert "tool_ids" in listed(raw.headers.get("x-moegate-transforms"))


# -- counting ---------------------------------------------------------------------------------------------------------


@case("messages", Feature.MESSAGES, Feature.COUNT_TOKENS)
def counting_tokens_foretells_the_usage(target: Target) -> None:
    counted = target.anthropic.messages.count_tokens(model=target.model, messages=SUM)
    usage = ask(target).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


@case("messages", Feature.COUNT_TOKENS)
def counting_needs_messages(target: Target) -> None:
    check_error(target.post(COUNT_TOKENS, {"model": target.model}, **VERSION), 400, "invalid_request_error")


# -- errors -----------------------------------------------------------------------------------------------------------


def check_error(answer: httpx.Response, status: int, kind: str) -> None:
    """Anthropic's shape, our headers, and nothing private."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:300]}"
    found = answer.json()
    assert (found["type"], found["error"]["type"]) == ("error", kind)
    assert found["error"]["message"]
    assert answer.headers["x-moegate-error"]
    assert [text for text in PRIVATE if text in answer.text + str(answer.headers)] == []


@case("messages")
def errors_are_in_anthropics_words(target: Target) -> None:
    check_error(target.post(MESSAGES, b"{", **VERSION), 400, "invalid_request_error")
    check_error(target.post(MESSAGES, body(target, model="no-such-model"), **VERSION), 404, "not_found_error")
    check_error(target.post(MESSAGES, body(target), authorization="Bearer nobody"), 401, "authentication_error")
    without = {name: value for name, value in body(target).items() if name != "max_tokens"}
    check_error(target.post(MESSAGES, without, **VERSION), 400, "invalid_request_error")


@case("messages", Feature.MESSAGES)
def an_error_is_the_sdks_own_exception(target: Target) -> None:
    with pytest.raises(anthropic.NotFoundError, match="no-such-model"):
        ask(target, model="no-such-model")


@case("messages", Feature.MESSAGES, Need.DOOR)
def an_overload_is_told_in_anthropics_words(target: Target) -> None:
    vague = "messages" in target.declaration.vague
    for stream in (False, True):
        answer = target.post(MESSAGES, body(target, faulty("queue_full"), stream=stream), **VERSION)
        check_error(answer, *((502, "api_error") if vague else (503, "overloaded_error")))
        assert vague or answer.headers["retry-after"]


@case("messages", Feature.MESSAGES, Need.DOOR)
def a_failure_in_the_middle_is_an_error_event(target: Target) -> None:
    for fault in ("midstream_error_event", "midstream_cut", "no_done"):
        content = target.broken_off(MESSAGES, body(target, faulty(f"{fault},gate=g"), stream=True))
        assert names(content)[-1] == "error", fault
        assert "message_stop" not in names(content)
        last = json.loads(content.strip().rpartition(b"data: ")[2])
        assert (last["type"], last["error"]["type"]) == ("error", "api_error")


@case("messages", Feature.MESSAGES, Need.THINKING)
def thoughts_are_blocks_of_their_own(target: Target) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    for message in (
        ask(target, thinking=thinking, max_tokens=2048),
        streamed(target, thinking=thinking, max_tokens=2048),
    ):
        assert [block.type for block in message.content] == ["thinking", "text"]
        assert message.content[0].thinking
        assert "7" in said(message)


@refusal(Feature.MESSAGES, Feature.COUNT_TOKENS)
def messages_are_refused(target: Target) -> None:
    for path in (MESSAGES, COUNT_TOKENS):
        answer = target.post(path, body(target), **VERSION)
        check_error(answer, 400, "invalid_request_error")
        assert "chat" in answer.json()["error"]["message"], "the error names the operations that there are"
