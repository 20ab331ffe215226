"""What one answer is held against: the tools that were declared, the template's markers, emptiness, the JSON that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.experiments.compare.checks import Checker
from plugins.experiments.compare.results import Checks, ToolCall
from tests.unit.plugins.experiments.compare.made import answer

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def tool(name: str = "look", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


def checked(body: dict[str, Any], **said: Any) -> Checks:
    return Checker().check(body, answer(**said))


def called(*calls: tuple[str, str], tools: list[dict[str, Any]], finish: str = "tool_calls") -> Checks:
    said = [ToolCall(name, arguments) for name, arguments in calls]
    return checked({"tools": tools}, text="", finish_reason=finish, tool_calls=said)


def test_an_answer_in_words_is_good() -> None:
    assert checked({}) == Checks()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ('{"city":"Oslo"}', ""),
        ('{"city":1}', "look: $.city: 1 is not of type 'string'"),
        ('{"town":"Oslo"}', "look: $: 'city' is a required property"),
        ('{"city":"Oslo","x":1}', "look: $: Additional properties are not allowed"),
        ('{"city": Oslo', "look: arguments are no JSON"),
        ("[]", "look: $: [] is not of type 'object'"),
    ],
)
def test_arguments_must_fit_the_schema(arguments: str, fault: str) -> None:
    found = called(("look", arguments), tools=[tool(parameters=CITY)])
    assert found.schema_valid is (not fault)
    assert found.fault.startswith(fault)


def test_one_bad_call_of_several_spoils_the_answer() -> None:
    found = called(("look", '{"city":"Oslo"}'), ("look", "{}"), tools=[tool(parameters=CITY)])
    assert found.schema_valid is False


def test_a_tool_that_was_not_declared_is_named() -> None:
    found = called(("leap", "{}"), tools=[tool(parameters=CITY)])
    assert (found.schema_valid, found.undeclared) == (False, ("leap",))


def test_validity_is_of_answers_that_end_with_tool_calls() -> None:
    found = called(("look", "{}"), tools=[tool(parameters=CITY)], finish="length")
    assert found.schema_valid is None


def test_a_tool_without_a_schema_takes_any_object() -> None:
    assert called(("look", '{"a":1}'), tools=[tool()]).schema_valid is True
    assert called(("look", ""), tools=[tool()]).schema_valid is True


def test_a_schema_that_is_none_is_no_crash() -> None:
    found = called(("look", "{}"), tools=[tool(parameters={"type": 3})])
    assert (found.schema_valid, found.fault) == (False, "look: its schema is none")


def test_what_a_schema_refers_to_is_not_fetched() -> None:
    found = called(("look", "{}"), tools=[tool(parameters={"$ref": "http://127.0.0.1:1/schema"})])
    assert found.schema_valid is False
    assert "its schema cannot be applied" in found.fault


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("Let me look. <|tool_calls_section_begin|>", "<|tool_calls_section_begin|>"),
        ("x<|tool_call_begin|>functions.look:0", "<|tool_call_begin|>"),
        ("done<|im_end|>", "<|im_end|>"),
        ("<think>hm</think>yes", "<think>"),
        ("a <| b |> c, [EOL]", ""),
    ],
)
def test_markers_of_the_template_are_found(text: str, marker: str) -> None:
    assert checked({}, text=text).marker == marker


def test_nothing_and_blanks_are_empty() -> None:
    assert checked({}, text="").empty is True
    assert checked({}, text=" \n").empty is True
    assert called(("look", "{}"), tools=[tool()]).empty is False


@pytest.mark.parametrize(
    ("wanted", "text", "valid"),
    [
        ({"type": "json_object"}, '{"a":1}', True),
        ({"type": "json_object"}, "[1]", False),
        ({"type": "json_object"}, "Sure! {}", False),
        ({"type": "json_schema", "json_schema": {"schema": CITY}}, '{"city":"Oslo"}', True),
        ({"type": "json_schema", "json_schema": {"schema": CITY}}, '{"town":"Oslo"}', False),
        ({"type": "text"}, "no", None),
    ],
)
def test_json_is_json_where_it_was_asked_for(wanted: dict[str, Any], text: str, valid: bool | None) -> None:
    assert checked({"response_format": wanted}, text=text).json_valid is valid


def test_of_a_failure_nothing_is_checked() -> None:
    assert checked({"response_format": {"type": "json_object"}}, text="", error="timed_out") == Checks()
