"""Tool calls: plain and streamed, one and two, chosen, forced and forbidden; histories are another file's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.conformance.backends.asking import BOTH, CHAT, PARIS, SUM, TOOLS, Json
from tests.conformance.backends.case import Feature, NotShown, case, refusal
from tests.conformance.backends.target import Target

ID = re.compile(r"functions\.get_weather:(\d+)")
NAMED: Json = {"type": "function", "function": {"name": "get_weather"}}


@dataclass
class Call:
    """A tool call, put together."""

    id: str
    name: str
    arguments: str

    @property
    def city(self) -> Any:
        """The one argument."""
        return json.loads(self.arguments)["city"]


def ask(target: Target, messages: list[Json], **fields: Any) -> Any:
    """Ask with the tool declared."""
    return target.chat(messages, **{"tools": TOOLS, **fields})


def calls_of(choice: Any) -> list[Call]:
    """The calls of a plain answer."""
    found = choice.message.tool_calls or []
    return [Call(call.id, call.function.name, call.function.arguments) for call in found]


def streamed_calls(chunks: list[Any]) -> list[Call]:
    """The calls of a stream, put together as clients do: by index, the name and id from where they come first."""
    calls: dict[int, Call] = {}
    for piece in (piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or []):
        call = calls.setdefault(piece.index, Call("", "", ""))
        call.id = call.id or piece.id or ""
        call.name += piece.function.name or ""
        call.arguments += piece.function.arguments or ""
    assert sorted(calls) == list(range(len(calls))), "indexes count from 0 without gaps"
    return [calls[index] for index in sorted(calls)]


def finish_of(chunks: list[Any]) -> str | None:
    """The one finish reason of a stream."""
    (finish,) = {chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason}
    return str(finish)


@case("tools", Feature.TOOLS)
def a_needed_tool_is_called(target: Target) -> None:
    choice = ask(target, [PARIS]).choices[0]
    (call,) = calls_of(choice)
    assert (call.name, call.city, choice.finish_reason) == ("get_weather", "Paris", "tool_calls")
    assert not (choice.message.content or "").strip()


@case("tools", Feature.TOOLS)
def a_streamed_call_is_the_same_call(target: Target) -> None:
    chunks = list(ask(target, [PARIS], stream=True))
    (call,) = streamed_calls(chunks)
    (wanted,) = calls_of(ask(target, [PARIS]).choices[0])
    assert (call.id, call.name, call.city) == (wanted.id, wanted.name, wanted.city)
    assert finish_of(chunks) == "tool_calls"
    assert "<|" not in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@case("tools", Feature.TOOLS)
def ids_are_kimis_own(target: Target) -> None:
    (call,) = calls_of(ask(target, [PARIS]).choices[0])
    assert call.id == "functions.get_weather:0"


@case("tools", Feature.TOOLS)
def two_calls_come_with_ids_of_their_own(target: Target) -> None:
    choice = ask(target, [BOTH]).choices[0]
    calls = calls_of(choice)
    if len(calls) < 2:
        raise NotShown(f"the model made {len(calls)} call")
    assert [call.id for call in calls] == ["functions.get_weather:0", "functions.get_weather:1"]
    assert all(json.loads(call.arguments) for call in calls)
    assert choice.finish_reason == "tool_calls"


@case("tools", Feature.TOOLS)
def two_streamed_calls_are_the_same_calls(target: Target) -> None:
    wanted = calls_of(ask(target, [BOTH]).choices[0])
    if len(wanted) < 2:
        raise NotShown(f"the model made {len(wanted)} call")
    assert streamed_calls(list(ask(target, [BOTH], stream=True))) == wanted


@case("tools", Feature.TOOLS)
def a_tool_that_is_not_needed_is_not_called(target: Target) -> None:
    choice = ask(target, SUM).choices[0]
    assert calls_of(choice) == []
    assert choice.finish_reason == "stop"
    assert "7" in choice.message.content


@case("tools", Feature.TOOLS)
def tool_choice_none_means_none(target: Target) -> None:
    choice = ask(target, [PARIS], tool_choice="none").choices[0]
    assert calls_of(choice) == []
    assert choice.finish_reason in ("stop", "length")


@case("tools", Feature.TOOLS)
def tool_choice_required_makes_a_call(target: Target) -> None:
    choice = ask(target, [PARIS], tool_choice="required").choices[0]
    if choice.finish_reason == "length" and (choice.message.content or "").startswith("["):
        raise NotShown("the model came to no end in the JSON that this engine has it write, which it never learnt")
    assert calls_of(choice)
    assert ID.fullmatch(calls_of(choice)[0].id)
    assert choice.finish_reason == "tool_calls"


@case("tools", Feature.TOOLS, Feature.NAMED_TOOL)
def a_named_tool_is_called(target: Target) -> None:
    choice = ask(target, [PARIS], tool_choice=NAMED).choices[0]
    assert [call.name for call in calls_of(choice)][:1] == ["get_weather"]
    chunks = list(ask(target, [PARIS], tool_choice=NAMED, stream=True))
    assert [call.name for call in streamed_calls(chunks)][:1] == ["get_weather"]


@case("tools", Feature.TOOLS)
def a_tool_that_is_not_declared_cannot_be_named(target: Target) -> None:
    unknown = {"type": "function", "function": {"name": "no_such_tool"}}
    answer = target.post(CHAT, target.body([PARIS], tools=TOOLS, tool_choice=unknown))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


@refusal(Feature.NAMED_TOOL)
def a_named_tool_is_refused(target: Target) -> None:
    answer = target.post(CHAT, target.body([PARIS], tools=TOOLS, tool_choice=NAMED))
    assert answer.status_code == 400, answer.text
    assert "tool_choice" in answer.json()["error"]["message"]


@refusal(Feature.TOOLS)
def tools_are_refused(target: Target) -> None:
    answer = target.post(CHAT, target.body([PARIS], tools=TOOLS))
    assert answer.status_code == 400
    assert "tools" in answer.json()["error"]["message"]
