"""Conversations with tool calls in them: the client's ids, the engine's ids, the order of results, and empty contents."""

from __future__ import annotations

from typing import Any

from tests.conformance.backends.asking import PARIS, TOOLS, Json, call, listed, result
from tests.conformance.backends.case import Feature, Need, case
from tests.conformance.backends.cases.tools import ask, calls_of, streamed_calls
from tests.conformance.backends.target import Target

TURN: Json = {"role": "assistant", "content": "", "tool_calls": [call("call_abc")]}
HISTORY: list[Json] = [PARIS, TURN, result("call_abc", "rainy")]
AGAIN: Json = {"role": "user", "content": "What is the weather in Oslo?"}


def sent_ids(target: Target) -> list[str]:
    """The ids in what the engine got: of calls and of results, in order."""
    found: list[str] = []
    for message in target.sent()["messages"]:
        found += [each["id"] for each in message.get("tool_calls") or []]
        found += [message["tool_call_id"]] if "tool_call_id" in message else []
    return found


@case("history", Feature.TOOLS)
def the_result_of_a_tool_is_used(target: Target) -> None:
    answer = ask(target, HISTORY).choices[0]
    assert "rainy" in answer.message.content
    assert answer.finish_reason == "stop"


@case("history", Feature.TOOLS)
def a_whole_round_trip_with_the_sdks_own_objects(target: Target) -> None:
    message = ask(target, [PARIS]).choices[0].message
    turn = message.model_dump(exclude_none=True)
    answer = ask(target, [PARIS, turn, result(message.tool_calls[0].id, "rainy")]).choices[0]
    assert "rainy" in answer.message.content


@case("history", Feature.TOOLS, Need.DOOR)
def a_clients_ids_are_renumbered_for_the_engine(target: Target) -> None:
    raw = target.raw_chat(HISTORY, tools=TOOLS)
    assert sent_ids(target) == ["functions.get_weather:0", "functions.get_weather:0"]
    assert "tool_ids" in listed(raw.headers.get("x-moegate-transforms"))


@case("history", Feature.TOOLS, Need.DOOR)
def ids_that_are_right_already_stay(target: Target) -> None:
    right = "functions.get_weather:0"
    history = [PARIS, {**TURN, "tool_calls": [call(right)]}, result(right, "rainy")]
    raw = target.raw_chat(history, tools=TOOLS)
    assert sent_ids(target) == [right, right]
    assert "tool_ids" not in listed(raw.headers.get("x-moegate-transforms"))


@case("history", Feature.TOOLS)
def the_next_call_is_numbered_on(target: Target) -> None:
    (made,) = calls_of(ask(target, [*HISTORY, {"role": "assistant", "content": "It is rainy."}, AGAIN]).choices[0])
    assert (made.id, made.city) == ("functions.get_weather:1", "Oslo")
    chunks = list(ask(target, [*HISTORY, {"role": "assistant", "content": "It is rainy."}, AGAIN], stream=True))
    assert [each.id for each in streamed_calls(chunks)] == ["functions.get_weather:1"]


@case("history", Feature.TOOLS)
def an_id_of_the_client_is_never_given_twice(target: Target) -> None:
    """The client numbers otherwise than we do: its first call has the id that our second would get."""
    theirs = "functions.get_weather:1"
    history = [PARIS, {**TURN, "tool_calls": [call(theirs)]}, result(theirs, "rainy"), AGAIN]
    (made,) = calls_of(ask(target, history).choices[0])
    assert made.id != theirs


@case("history", Feature.TOOLS, Need.DOOR)
def results_are_put_into_the_order_of_their_calls(target: Target) -> None:
    turn = {**TURN, "tool_calls": [call("call_a"), call("call_b", "Oslo")]}
    answer = ask(target, [PARIS, turn, result("call_b", "snow"), result("call_a", "rain")]).choices[0]
    results = [message for message in target.sent()["messages"] if message["role"] == "tool"]
    assert [(each["tool_call_id"], each["content"]) for each in results] == [
        ("functions.get_weather:0", "rain"),
        ("functions.get_weather:1", "snow"),
    ]
    assert answer.message.content.index("rain") < answer.message.content.index("snow")


@case("history", Feature.TOOLS)
def empty_contents_of_all_kinds_are_taken(target: Target) -> None:
    contents: list[Any] = ["", None, [], [{"type": "text", "text": "I look."}]]
    for content in contents:
        answer = ask(target, [PARIS, {**TURN, "content": content}, result("call_abc", "rainy")]).choices[0]
        assert "rainy" in answer.message.content, content
    absent = {name: value for name, value in TURN.items() if name != "content"}
    assert "rainy" in ask(target, [PARIS, absent, result("call_abc", "rainy")]).choices[0].message.content


@case("history", Feature.TOOLS, Need.DOOR)
def the_content_of_a_turn_that_calls_is_one_text(target: Target) -> None:
    for content in (None, [], [{"type": "text", "text": "I look."}]):
        ask(target, [PARIS, {**TURN, "content": content}, result("call_abc", "rainy")])
        assert isinstance(target.sent()["messages"][1]["content"], str), content


@case("history", Feature.TOOLS)
def the_result_of_a_tool_may_come_in_parts(target: Target) -> None:
    parts = {**result("call_abc", ""), "content": [{"type": "text", "text": "rainy"}]}
    assert "rainy" in ask(target, [PARIS, TURN, parts]).choices[0].message.content
