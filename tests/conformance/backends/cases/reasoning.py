"""What a model thinks: under one name for clients, under the engine's own for engines, switched on and off in any way."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.backends.asking import HELLO, SUM, Json, payloads
from tests.conformance.backends.case import Need, case
from tests.conformance.backends.target import Target

ON: Json = {"chat_template_kwargs": {"thinking": True}}
SWITCHES_ON: list[Json] = [
    ON,
    {"thinking": {"type": "enabled"}},
    {"enable_thinking": True},
    {"reasoning": {"enabled": True}},
]
SWITCHES_OFF: list[Json] = [
    {"chat_template_kwargs": {"thinking": False}},
    {"thinking": {"type": "disabled"}},
    {"enable_thinking": False},
    {"reasoning_effort": "none"},
]


def message(target: Target, **fields: Any) -> Json:
    """The message of a plain answer, as JSON: SDKs would hide whether a name is there."""
    answer = target.post("/v1/chat/completions", target.body(**fields))
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["choices"][0]["message"]
    return found


def deltas(target: Target, **fields: Any) -> list[Json]:
    """The deltas of a stream, as JSON."""
    chunks = [json.loads(payload) for payload in payloads(target.stream_bytes(**fields).content)[:-1]]
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def joined(found: list[Json], name: str) -> str:
    """What the deltas say under one name."""
    return "".join(delta.get(name) or "" for delta in found)


@case("reasoning", Need.THINKING)
def it_is_called_reasoning_content(target: Target) -> None:
    found = message(target, **ON)
    assert found["reasoning_content"]
    assert "reasoning" not in found
    assert "7" in found["content"]


@case("reasoning", Need.THINKING)
def it_is_called_so_in_streams_as_well(target: Target) -> None:
    found = deltas(target, **ON)
    assert joined(found, "reasoning_content") == message(target, **ON)["reasoning_content"]
    assert not any("reasoning" in delta for delta in found)
    assert "7" in joined(found, "content")


@case("reasoning", Need.THINKING, Need.DOOR)
def both_names_are_given_where_the_configuration_says_so(target: Target) -> None:
    asked = {**ON, "model": target.variants["both names"]}
    found = message(target, **asked)
    assert found["reasoning_content"] == found["reasoning"] != ""
    pieces = deltas(target, **asked)
    assert joined(pieces, "reasoning_content") == joined(pieces, "reasoning") == found["reasoning"]


@case("reasoning", Need.THINKING)
def it_is_switched_on_in_every_way(target: Target) -> None:
    for switch in SWITCHES_ON:
        assert message(target, **switch).get("reasoning_content"), switch


@case("reasoning")
def it_is_switched_off_in_every_way(target: Target) -> None:
    for switch in SWITCHES_OFF:
        found = message(target, **switch)
        assert not found.get("reasoning_content"), switch
        assert "7" in found["content"]


@case("reasoning")
def without_reasoning_there_is_no_text_under_its_names(target: Target) -> None:
    found = message(target)
    assert not found.get("reasoning_content")
    assert not found.get("reasoning")
    assert not joined(deltas(target), "reasoning_content")


@case("reasoning")
def both_names_are_taken_in_a_history(target: Target) -> None:
    for name in ("reasoning_content", "reasoning"):
        history = [*HELLO, {"role": "assistant", "content": "Hello!", name: "They greet me."}, *SUM]
        assert "7" in target.chat(history).choices[0].message.content, name


@case("reasoning", Need.DOOR)
def a_history_reaches_the_engine_under_a_name_that_it_reads(target: Target) -> None:
    known = {
        "sglang": ["reasoning_content"],
        "ktransformers": ["reasoning_content"],
        "llama_cpp": ["reasoning_content"],
    }
    for name in ("reasoning_content", "reasoning"):
        target.chat([*HELLO, {"role": "assistant", "content": "Hello!", name: "They greet me."}, *SUM])
        sent = {key for key in target.sent()["messages"][1] if key.startswith("reasoning")}
        assert sent & set(known.get(target.engine, ["reasoning_content", "reasoning"])), f"{name} became {sent}"
