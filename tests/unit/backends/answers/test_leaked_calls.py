"""Tool calls that an engine left in its text, in chat: mended where they are whole; streamed and not."""

from __future__ import annotations

from typing import Any

import pytest

from backends.answers.tool_leaks import CALL_BEGIN, CALL_END, SECTION_BEGIN, SECTION_END
from gateway.errors import UpstreamBroken
from tests.unit.backends.answers.asking import DONE, TIGHT, Writer, feed, meter, payloads, said, with_tools
from tests.unit.backends.answers.calling import END, LATER, LEAK, PARIS, STOP, begun, made, native, went_on, whole


def cuts(text: str) -> list[list[str]]:
    """The text in one piece, in two at every place around a marker's edges, and letter by letter."""
    edges = {at for at, letter in enumerate(text) if letter in "<|>:{}"}
    return [[text], list(text), *[[text[:at], text[at:]] for at in sorted(edges - {0})]]


def content(pieces: list[str]) -> list[bytes]:
    return [TIGHT.delta(content=piece) for piece in pieces]


@pytest.mark.parametrize("pieces", cuts(f"Let me see. {LEAK}"), ids=len)
def test_a_call_left_in_a_stream_is_mended(pieces: list[str]) -> None:
    reading = with_tools(sent=LATER)
    first = TIGHT.delta(role="assistant", content="")
    seen = feed(reading, [first, *content(pieces), STOP])
    assert said(seen) == ("Let me see. ", [made(4)], "tool_calls")
    assert seen[0]["choices"][0]["delta"]["role"] == "assistant"
    assert reading.transforms == ["tool_leak", "tool_repair"]
    assert {chunk["id"] for chunk in seen[:-1]} == {"x"}
    assert (reading.error, reading.end_events(), reading.events) == (None, None, len(seen) - 1)


def test_the_same_in_a_plain_answer() -> None:
    reading = with_tools(sent=LATER, stream=False)
    choice = whole(reading, {"role": "assistant", "content": f"Let me see. {LEAK}"})
    call = {"id": "functions.get_weather:4", "type": "function"}
    function = {"name": "get_weather", "arguments": PARIS}
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "Let me see. ", "tool_calls": [{**call, "function": function}]},
        "finish_reason": "tool_calls",
    }
    assert reading.transforms == ["tool_leak", "tool_repair"]


@pytest.mark.parametrize("blank", ["", " \n"])
def test_where_nothing_but_calls_was_said_content_is_null(blank: str) -> None:
    message = whole(with_tools(stream=False), {"content": blank + LEAK})["message"]
    assert message["content"] is None
    assert len(message["tool_calls"]) == 1


def test_all_in_one_chunk_keeps_its_order() -> None:
    reading = with_tools()
    last = TIGHT.choice({"delta": {"role": "assistant", "content": f"a{LEAK}b"}, "finish_reason": "stop"})
    seen = feed(reading, [last, DONE])
    assert [chunk["choices"][0]["delta"] for chunk in seen[:-1]] == [
        {"role": "assistant", "content": "a"},
        {"tool_calls": [{"index": 0, **native()}]},
        {"content": "b"},
        {},
    ]
    assert said(seen) == ("ab", [made(0)], "tool_calls")


def test_a_call_without_its_ends_is_mended_when_the_model_stopped_by_itself() -> None:
    cut = LEAK.removesuffix(SECTION_END).removesuffix(CALL_END)
    assert said(feed(with_tools(), [*content([cut]), STOP])) == ("", [made(0)], "tool_calls")
    reading = with_tools()
    assert said(feed(reading, [*content([cut]), TIGHT.delta("length"), DONE])) == (cut, [], "length")
    assert reading.transforms == ["tool_leak"]


@pytest.mark.parametrize("end", [len(LEAK) - len(SECTION_END + CALL_END) - 1, len(SECTION_BEGIN) + 3, 5])
def test_what_is_not_complete_is_given_as_it_came(end: int) -> None:
    text = f"Well, {LEAK[:end]}"
    for pieces in ([text], list(text)):
        reading = with_tools()
        assert said(feed(reading, [*content(pieces), STOP])) == (text, [], "stop")
        assert reading.transforms == (["tool_leak"] if SECTION_BEGIN in text else [])
    choice = whole(with_tools(stream=False), {"content": text})
    assert choice == {"index": 0, "message": {"content": text}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    "more", [{"tool_choice": "none"}, {"fields": {"tools": []}}, {"fields": {"tools": [{"type": "function"}]}}]
)
def test_a_call_that_the_client_cannot_answer_stays_text(more: dict[str, Any]) -> None:
    reading = with_tools(**more) if "tool_choice" in more else meter(**more)
    assert said(feed(reading, [*content([LEAK]), STOP])) == (LEAK, [], "stop")
    assert reading.transforms == ["tool_leak"]


def test_without_tools_nobody_looks() -> None:
    reading = meter()
    events = [*content(["a", LEAK, "<", "b"]), STOP]
    assert [reading.feed_events(event) for event in events] == events
    assert reading.transforms == []


def test_calls_of_the_engine_and_mended_ones_stand_in_one_list() -> None:
    reading = with_tools()
    events = [*content([LEAK]), begun("search", "functions.search:0"), went_on("{}"), went_on(""), END]
    assert said(feed(reading, events)) == ("", [made(0), made(1, "search", "{}")], "tool_calls")
    choice = whole(
        with_tools(stream=False), {"content": LEAK, "tool_calls": [native("call_9", "search")]}, "tool_calls"
    )
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["functions.search:0", "functions.get_weather:1"]


def test_text_that_waited_is_given_once() -> None:
    assert said(feed(with_tools(), [*content(["<", "b", "c", "d"]), STOP]))[0] == "<bcd"


def test_text_that_waits_comes_before_a_call() -> None:
    seen = feed(with_tools(), [*content(["a <", "|tool"]), begun(), went_on(PARIS), END])
    assert said(seen) == ("a <|tool", [made(0)], "tool_calls")


@pytest.mark.parametrize(
    "name",
    [
        f"functions.get{CALL_BEGIN}functions.get_weather",
        f"get{CALL_BEGIN}functions.get_weather:0",
        "functions.get_weather",
    ],
)
def test_a_name_with_markup_in_it_is_mended(name: str) -> None:
    # Seen on vLLM and SGLang.
    reading = with_tools()
    events = [begun(name, f"functions.{name}:0"), went_on(PARIS), END]
    assert said(feed(reading, events)) == ("", [made(0)], "tool_calls")
    assert "tool_repair" in reading.transforms
    assert ("tool_leak" in reading.transforms) == (CALL_BEGIN in name)


def test_an_undeclared_name_is_left_alone() -> None:
    name = f"get{CALL_BEGIN}functions.get_time"
    reading = with_tools()
    assert said(feed(reading, [begun(name), went_on(PARIS), END]))[1][0]["name"] == name
    assert reading.transforms == ["tool_leak", "tool_ids"]


@pytest.mark.parametrize("end", [TIGHT.event({"error": {"message": "x", "code": 500}}), DONE])
def test_what_is_held_back_is_given_before_an_error(end: bytes) -> None:
    reading = with_tools()
    seen = feed(reading, [*content(["a", LEAK[:60]]), end])
    assert said(seen)[0] == f"a{LEAK[:60]}"
    assert isinstance(reading.error, UpstreamBroken)


def test_every_other_field_of_an_edited_chunk_stays() -> None:
    more = {"system_fingerprint": "f", "extra": {"deep": [1.50, "ü"]}}
    choice = {"delta": {"role": "assistant", "content": "a <|tool", "refusal": None}, "logprobs": {"content": []}}
    event = Writer(model="engine").choice({**choice, "finish_reason": None, "stop_reason": 7}, **more)
    reading = with_tools()
    shown = reading.feed_events(event)
    assert payloads(shown) == payloads(event.replace(b"a <|tool", b"a ").replace(b'"engine"', b'"kimi-k2"'))
    assert b"1.5" in shown


def test_other_fields_of_an_event_stay_beside_a_mended_payload() -> None:
    reading = with_tools(sent=LATER)
    event = b": note\r\nid: 7\r\n" + begun().rstrip(b"\n") + b"\r\nretry: 5\r\n\r\n"
    shown = reading.feed_events(event)
    assert shown.startswith(b": note\r\nid: 7\r\ndata: {")
    assert shown.endswith(b"}\r\nretry: 5\r\n\r\n")
    assert said(payloads(shown))[1] == [made(4, arguments="")]
