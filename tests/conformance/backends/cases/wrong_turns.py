"""What models and parsers get wrong, in good order on the wire: mended where it can be, told where it was, else passed on."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.backends.asking import ANTHROPIC_TOOLS, CHAT, PARIS, TOOLS, faulty, listed
from tests.conformance.backends.case import Check, Feature, Need, add, case
from tests.conformance.backends.cases import messages
from tests.conformance.backends.cases.tools import ask, calls_of, finish_of, streamed_calls
from tests.conformance.backends.target import Target

MENDED = ("marker_leak", "call_without_section_end", "marker_leak_after_text")


def content_of(chunks: list[Any]) -> str:
    """The text of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def _mended(fault: str) -> Check:
    def check(target: Target) -> None:
        asked = faulty(fault, [PARIS])
        wanted = "Let me look." if fault.endswith("after_text") else ""
        raw = target.raw_chat(asked, tools=TOOLS)
        choice = raw.parse().choices[0]
        (call,) = calls_of(choice)
        assert (call.id, call.city, choice.finish_reason) == ("functions.get_weather:0", "Paris", "tool_calls")
        assert (choice.message.content or "").strip() == wanted
        assert {"tool_leak", "tool_repair"} <= set(listed(raw.headers["x-moegate-transforms"]))
        chunks = list(ask(target, asked, stream=True))
        assert streamed_calls(chunks) == [call]
        assert content_of(chunks).strip() == wanted
        assert finish_of(chunks) == "tool_calls"

    return check


for _fault in MENDED:
    add(f"wrong turns.{_fault}_is_mended", _mended(_fault), Need.DOOR, Feature.TOOLS)


@case("wrong turns", Need.DOOR, Feature.TOOLS, Feature.MESSAGES)
def a_leak_is_mended_in_messages_as_well(target: Target) -> None:
    asked = faulty("marker_leak", [PARIS])
    messages.check_use(messages.ask(target, asked, tools=ANTHROPIC_TOOLS))
    messages.check_use(messages.streamed(target, asked, tools=ANTHROPIC_TOOLS))


@case("wrong turns", Need.DOOR, Feature.TOOLS)
def a_call_that_was_cut_short_is_not_made_up(target: Target) -> None:
    choice = ask(target, faulty("call_cut_short", [PARIS])).choices[0]
    assert calls_of(choice) == []
    assert choice.finish_reason == "length"
    chunks = list(ask(target, faulty("call_cut_short", [PARIS]), stream=True))
    assert streamed_calls(chunks) == []
    assert finish_of(chunks) == "length"
    assert content_of(chunks) == choice.message.content


@case("wrong turns", Need.DOOR, Feature.TOOLS)
def two_calls_at_one_index_are_told_apart(target: Target) -> None:
    chunks = list(ask(target, faulty("duplicate_index", [PARIS]), stream=True))
    assert [call.city for call in streamed_calls(chunks)] == ["Paris", "Oslo"]


@case("wrong turns", Need.DOOR, Feature.TOOLS)
def a_call_of_a_tool_that_is_not_there_is_passed_on(target: Target) -> None:
    """It is the client's to answer it with an error; the model is not made to say something else."""
    (call,) = calls_of(ask(target, faulty("undeclared_tool", [PARIS])).choices[0])
    assert call.name == "delete_everything"
    assert [
        each.name for each in streamed_calls(list(ask(target, faulty("undeclared_tool", [PARIS]), stream=True)))
    ] == ["delete_everything"]


@case("wrong turns", Need.DOOR, Feature.TOOLS)
def arguments_that_are_no_json_are_passed_on(target: Target) -> None:
    (call,) = calls_of(ask(target, faulty("invalid_arguments", [PARIS])).choices[0])
    (streamed,) = streamed_calls(list(ask(target, faulty("invalid_arguments", [PARIS]), stream=True)))
    assert call.arguments == streamed.arguments == '{"city": Paris'


@case("wrong turns", Need.DOOR)
def content_null_without_calls_is_an_empty_answer(target: Target) -> None:
    choice = target.chat(faulty("null_content")).choices[0]
    assert not choice.message.content
    assert not choice.message.tool_calls
    chunks = list(target.chat(faulty("null_content"), stream=True))
    assert content_of(chunks) == ""
    assert finish_of(chunks) == "stop"


@case("wrong turns", Need.DOOR)
def reasoning_until_the_limit_is_an_answer_without_content(target: Target) -> None:
    answer = target.post(CHAT, target.body(faulty("reasoning_only"))).json()["choices"][0]
    assert answer["finish_reason"] == "length"
    assert answer["message"]["reasoning_content"]
    assert not answer["message"]["content"]
    chunks = list(target.chat(faulty("reasoning_only"), stream=True))
    assert finish_of(chunks) == "length"
    assert not content_of(chunks)


@case("wrong turns", Need.DOOR, Feature.TOOLS)
def markers_in_an_answer_to_which_no_tools_were_declared_stay_text(target: Target) -> None:
    choice = target.chat(faulty("marker_leak")).choices[0]
    assert not choice.message.tool_calls
    assert "<|tool_call" in choice.message.content
    assert json.dumps(choice.message.content)
