from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from backends.openai_compatible import OpenAICompatible
from backends.tool_history import History, number_chat, number_messages, number_responses
from gateway import Operation
from tests.unit.backends.asking import prepared
from tests.unit.backends.conversations import call, calls, numbered, result
from tests.unit.builders import make_call

IDS = st.sampled_from(["", "a", "b", "call_1", "functions.f:0", "functions.g:1"]) | st.text(max_size=3)
NAMES = st.sampled_from(["f", "g", "a:b"])


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    items: list[Any] = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            items.append({"role": "user", "content": draw(st.text(max_size=3))})
        elif kind == 1:
            content = draw(st.none() | st.text(max_size=3) | st.just([]))
            made = [call(draw(IDS), draw(NAMES)) for _ in range(draw(st.integers(0, 3)))]
            items.append(calls(*made, content=content))
        else:
            items.append(result(draw(IDS), draw(st.text(max_size=3))))
    return items


@given(conversations())
def test_twice_is_no_more_than_once(items: list[Any]) -> None:
    once, _ = numbered(number_chat, items)
    twice, history = numbered(number_chat, once)
    assert twice == once
    assert not history.renumbered


@given(conversations())
def test_nothing_is_lost_and_nothing_moves_but_results(items: list[Any]) -> None:
    found, history = numbered(number_chat, items)
    assert [item["role"] for item in found] == [item["role"] for item in items]
    made = [one["function"] for item in items for one in item.get("tool_calls", ())]
    assert [one["function"] for item in found for one in item.get("tool_calls", ())] == made
    assert history.calls == len(made)
    assert sorted(item["content"] for item in found if item["role"] == "tool") == sorted(
        item["content"] for item in items if item["role"] == "tool"
    )
    assert [item for item in found if item["role"] == "user"] == [item for item in items if item["role"] == "user"]


@given(conversations())
def test_every_call_gets_its_place_in_the_conversation_as_its_number(items: list[Any]) -> None:
    found, history = numbered(number_chat, items)
    made = [one for item in found for one in item.get("tool_calls", ())]
    assert [one["id"] for one in made] == [f"functions.{one['function']['name']}:{at}" for at, one in enumerate(made)]
    given_ids = [one["id"] for item in items for one in item.get("tool_calls", ())]
    assert [history.client_ids.get(one["id"], one["id"]) for one in made] == given_ids


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "tool_calls",
                    "tool_call_id",
                    "id",
                    "function",
                    "name",
                    "type",
                    "tool_use_id",
                    "call_id",
                ]
            ),
            inner
            | st.sampled_from(
                ["assistant", "tool", "tool_use", "tool_result", "function_call", "function_call_output"]
            ),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=5), st.sampled_from([number_chat, number_messages, number_responses]))
def test_no_json_makes_it_fail(items: list[Any], number: Callable[[Raw], History]) -> None:
    found, history = numbered(number, items)
    assert len(found) == len(items)
    again, _ = numbered(number, found)
    assert again == found
    assert history.calls >= 0


@given(st.binary(max_size=30), st.sampled_from([Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES]))
def test_nor_do_bytes_that_are_none(history: bytes, operation: Operation) -> None:
    field = "input" if operation is Operation.RESPONSES else "messages"
    broken = make_call(
        operation=operation,
        body=b'"tool_calls" "tool_use" "function_call"',
        fields={field: Raw(b'[{"tool_calls":[' + history + b"]}]")},
    )
    assert prepared(OpenAICompatible(), broken).path
