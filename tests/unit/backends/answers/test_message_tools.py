"""Tool calls in answers of the Messages API: as Anthropic's clients take them, and those that an engine left in its text."""

from __future__ import annotations

import json

import pytest

from backends.answers.tool_leaks import SECTION_BEGIN
from gateway.dataplane import sse
from tests.unit.backends.answers.asking import payloads
from tests.unit.backends.answers.messages import ANTHROPIC_ID, LEAK, PARIS, M, put_together, reading


@pytest.mark.parametrize("native", ["functions.get_weather:0", "x9Zk", "toolu_1"])
def test_ids_are_such_as_anthropics_clients_take(native: str) -> None:
    read = reading(tools=True)
    block = {"type": "tool_use", "id": native, "name": "get_weather", "input": {}}
    events = M.start() + M.open(**block) + M.add_json(PARIS) + M.close() + M.end("tool_use") + M.stop
    found = put_together(b"".join([read.feed_events(event) for event in sse.split(events)]))["content"]
    assert found == [("functions_get_weather_4", "get_weather", PARIS)]
    assert ANTHROPIC_ID.fullmatch(found[0][0])
    assert read.transforms == ["tool_ids"]
    body = json.dumps({"content": [{**block, "input": {"a": 1.5}}], "stop_reason": "tool_use"}).encode()
    answer = json.loads(reading(tools=True, stream=False).read_body(body))
    assert answer["content"] == [{**block, "id": "functions_get_weather_4", "input": {"a": 1.5}}]


def test_without_knowing_what_was_sent_ids_are_only_made_fit() -> None:
    read = reading(tools=True, sent=None)
    shown = payloads(read.feed_events(M.open(type="tool_use", id="functions.a:7", name="a", input={})))
    assert shown[0]["content_block"]["id"] == "functions_a_7"


def test_a_block_without_input_gets_an_empty_one() -> None:
    # llama.cpp leaves it out, and a client that adds to it fails.
    read = reading(tools=True)
    shown = payloads(read.feed_events(M.open(type="tool_use", id="functions_search_4", name="search")))
    assert shown[0]["content_block"] == {"type": "tool_use", "id": "functions_search_4", "name": "search", "input": {}}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_call_left_in_text_becomes_a_block_of_its_own(size: int) -> None:
    read = reading(tools=True)
    text = f"Let me see. {LEAK} There."
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    use = {"type": "tool_use", "id": "x", "name": "search", "input": {}}
    events = [M.start(), M.open(), *map(M.add, pieces), M.close()]
    events += [M.open(1, **use), M.add_json("{}", 1), M.close(1), M.end(), M.stop]
    message = put_together(b"".join([read.feed_events(event) for event in events]))
    assert message["content"] == [
        "Let me see. ",
        ("functions_get_weather_4", "get_weather", PARIS),
        " There.",
        ("functions_search_5", "search", "{}"),
    ]
    assert message["stop_reason"] == "tool_use"
    assert read.transforms == ["tool_leak", "tool_repair", "tool_ids"]
    assert (read.error, read.end_events()) == (None, None)


def test_a_text_of_nothing_but_a_call() -> None:
    read = reading(tools=True)
    events = [M.start(), M.open(), M.add(LEAK), M.close(), M.end("max_tokens"), M.stop]
    message = put_together(b"".join([read.feed_events(event) for event in events]))
    assert message["content"] == ["", ("functions_get_weather_4", "get_weather", PARIS)]
    assert message["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("text", [LEAK[:-40], LEAK[:30], "a <|tool", LEAK.replace("get_weather", "unknown")])
def test_what_is_no_complete_call_stays_text(text: str) -> None:
    read = reading(tools=True)
    events = [M.start(), M.open(), *map(M.add, text), M.close(), M.end(), M.stop]
    message = put_together(b"".join([read.feed_events(event) for event in events]))
    assert (message["content"], message["stop_reason"]) == ([text], "end_turn")
    assert read.transforms == (["tool_leak"] if SECTION_BEGIN in text else [])
    body = json.dumps({"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}).encode()
    assert reading(tools=True, stream=False).read_body(body) is body


def test_what_is_held_back_is_given_before_an_error() -> None:
    read = reading(tools=True)
    events = [M.start(), M.open(), M.add("a" + LEAK[:40]), M.event("error", error={"type": "api_error"})]
    shown = b"".join([read.feed_events(event) for event in events])
    assert [payload["delta"]["text"] for payload in payloads(shown)[2:]] == ["a", LEAK[:40]]


def test_a_call_left_in_a_plain_answer() -> None:
    read = reading(tools=True, stream=False)
    thought = {"type": "thinking", "thinking": LEAK, "signature": ""}
    text = {"type": "text", "text": f"a {LEAK} b", "citations": None}
    body = json.dumps({"model": "x", "content": [thought, text], "stop_reason": "end_turn"}).encode()
    call = {"type": "tool_use", "id": "functions_get_weather_4", "name": "get_weather", "input": {"city": "Paris"}}
    assert json.loads(read.read_body(body)) == {
        "model": "kimi-k2",
        "content": [thought, {"type": "text", "text": "a "}, call, {"type": "text", "text": " b"}],
        "stop_reason": "tool_use",
    }
    assert read.transforms == ["tool_leak", "tool_repair"]
