"""Tool calls that engines make in chat: their ids and places, and how the answer then ends; streamed and not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backends.sent import Sent
from tests.unit.backends.answers.asking import DONE, TIGHT, WEATHER, feed, meter, said, with_tools
from tests.unit.backends.answers.calling import END, LATER, PARIS, STOP, begun, made, native, went_on, whole

# Ids


@pytest.mark.parametrize("identity", ["call_0a", "x9Zk", "functions.get_weather:8888", "functions.get_weather:0", None])
def test_a_new_call_gets_the_conversations_next_index(identity: str | None) -> None:
    # llama.cpp's ids are random, and models count as they please.
    reading = with_tools(sent=LATER)
    text, calls, finish = said(feed(reading, [begun(identity=identity), went_on('{"city":'), went_on('"Paris"}'), END]))
    assert (text, calls, finish) == ("", [made(4)], "tool_calls")
    assert reading.transforms == ["tool_ids"]
    assert whole(with_tools(sent=LATER, stream=False), {"tool_calls": [native(identity)]}, "tool_calls") == {
        "index": 0,
        "message": {"tool_calls": [native("functions.get_weather:4")]},
        "finish_reason": "tool_calls",
    }


def test_right_ids_pass_byte_for_byte() -> None:
    events = [begun(), went_on(PARIS), begun("search", "functions.search:1", 1), went_on("{}", 1), END]
    reading = with_tools()
    assert [reading.feed_events(event) for event in events] == events
    assert (reading.transforms, reading.finish_reason) == ([], "tool_calls")
    body = json.dumps({"choices": [{"message": {"tool_calls": [native()]}, "finish_reason": "tool_calls"}]}).encode()
    assert with_tools(stream=False).read_body(body) is body


def test_several_calls_count_on() -> None:
    reading = with_tools(sent=LATER)
    events = [begun(), went_on(PARIS), begun("search", "call_b", 1), went_on("{}", 1), END]
    assert said(feed(reading, events))[1] == [made(4), made(5, "search", "{}")]


def test_each_choice_counts_for_itself() -> None:
    call = {"index": 0, "id": "call_x", "function": {"name": "search", "arguments": "{}"}}
    events = [
        TIGHT.choice({"index": index, "delta": {"tool_calls": [call]}, "finish_reason": None}) for index in (0, 1)
    ]
    seen = feed(with_tools(sent=LATER), events)
    assert [said(seen, index)[1] for index in (0, 1)] == [[made(4, "search", "{}")]] * 2


def test_an_id_that_the_client_uses_already_is_not_given_again() -> None:
    # The client cut off the beginning of its conversation, so its indices run ahead of ours.
    sent = Sent(
        engine_model="kimi-k2",
        next_call_index=1,
        client_call_ids={"functions.get_weather:0": "functions.get_weather:1"},
    )
    reading = with_tools(sent=sent)
    events = [begun(), went_on(PARIS), begun(identity="functions.get_weather:1", index=1), went_on(PARIS, 1), END]
    assert said(feed(reading, events))[1] == [made(2), made(3)]


def test_an_id_that_an_engine_repeats_is_renamed_each_time() -> None:
    reading = with_tools(sent=LATER)
    seen = feed(reading, [begun(identity="call_1"), went_on(PARIS, id="call_1"), END])
    ids = [call["id"] for chunk in seen[:2] for call in chunk["choices"][0]["delta"]["tool_calls"]]
    assert ids == ["functions.get_weather:4"] * 2


def test_two_calls_under_one_index_are_told_apart() -> None:
    reading = with_tools()
    events = [begun(), went_on(PARIS), begun("search", "functions.search:1"), went_on("{}"), END]
    assert said(feed(reading, events))[1] == [made(0), made(1, "search", "{}")]


def test_without_knowing_what_was_sent_ids_stay() -> None:
    events = [begun(identity="call_x"), went_on(PARIS), END]
    reading = meter(fields={"tools": [WEATHER]})
    assert [reading.feed_events(event) for event in events] == events


def test_a_transform_that_the_request_had_is_not_named_twice() -> None:
    reading = with_tools(sent=LATER, noted=("tool_ids",))
    feed(reading, [begun()])
    assert reading.transforms == []


@pytest.mark.parametrize("nulls", [True, False])
def test_pieces_with_nulls_are_pieces(nulls: bool) -> None:
    # The KTransformers fork writes every key into every chunk.
    more = {"id": None, "type": "function"} if nulls else {}
    delta = {"role": None, "content": None, "reasoning_content": None}
    function = {"arguments": PARIS, **({"name": None} if nulls else {})}
    piece = TIGHT.delta(**delta, tool_calls=[{"index": 0, "function": function, **more}])
    reading = with_tools(sent=LATER)
    assert said(feed(reading, [begun(), piece, END]))[1] == [made(4)]


# Ends


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ("auto", "tool_calls"),
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "get_weather"}}, "stop"),
    ],
)
def test_an_answer_that_calls_ends_as_openais_does(choice: Any, finish: str) -> None:
    reading = with_tools(tool_choice=choice)
    assert said(feed(reading, [begun(), went_on(PARIS), STOP]))[2] == finish
    assert reading.transforms == ([] if finish == "stop" else ["finish_reason"])
    assert whole(with_tools(tool_choice=choice, stream=False), {"tool_calls": [native()]})["finish_reason"] == finish


def test_a_call_that_was_cut_off_says_so() -> None:
    assert said(feed(with_tools(), [begun(), went_on('{"ci'), TIGHT.delta("length"), DONE]))[2] == "length"
