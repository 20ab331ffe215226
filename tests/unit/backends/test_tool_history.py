from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from backends.openai_compatible import OpenAICompatible
from backends.tool_history import History, number_chat, number_messages, number_responses
from gateway import Operation
from tests.unit.backends.asking import ask, prepared
from tests.unit.backends.conversations import USER, call, calls, numbered, result

BACKEND = OpenAICompatible()

# Chat


def test_calls_are_numbered_through_the_conversation_and_their_results_with_them() -> None:
    items = [
        USER,
        calls(call("call_a"), call("call_b", "get_time")),
        result("call_a"),
        result("call_b", "noon"),
        USER,
        calls(call("call_c")),
        result("call_c", "rain"),
    ]
    found, history = numbered(number_chat, items)
    assert found == [
        USER,
        calls(call("functions.get_weather:0"), call("functions.get_time:1", "get_time")),
        result("functions.get_weather:0"),
        result("functions.get_time:1", "noon"),
        USER,
        calls(call("functions.get_weather:2")),
        result("functions.get_weather:2", "rain"),
    ]
    assert history.client_ids == {
        "functions.get_weather:0": "call_a",
        "functions.get_time:1": "call_b",
        "functions.get_weather:2": "call_c",
    }
    assert (history.calls, history.renumbered, history.emptied) == (3, True, False)


def test_kimi_s_own_ids_stay_and_nothing_is_encoded_anew() -> None:
    items = [USER, calls(call("functions.get_weather:0")), result("functions.get_weather:0")]
    _, history = numbered(number_chat, items)
    assert history == History(None, {}, 1, renumbered=False)


def test_results_come_in_the_order_of_their_calls_because_the_template_looks_at_nothing_else() -> None:
    items = [
        calls(call("a", "f"), call("b", "g"), call("c", "h")),
        result("c", "3"),
        result("a", "1"),
        result("b", "2"),
    ]
    found, history = numbered(number_chat, items)
    assert [item["content"] for item in found[1:]] == ["1", "2", "3"]
    assert [item["tool_call_id"] for item in found[1:]] == ["functions.f:0", "functions.g:1", "functions.h:2"]
    assert history.renumbered


def test_reordering_alone_is_a_change_too() -> None:
    items = [
        calls(call("functions.f:0", "f"), call("functions.g:1", "g")),
        result("functions.g:1"),
        result("functions.f:0"),
    ]
    found, history = numbered(number_chat, items)
    assert [item["tool_call_id"] for item in found[1:]] == ["functions.f:0", "functions.g:1"]
    assert history.renumbered


def test_a_client_that_numbers_each_turn_anew_is_understood() -> None:
    items = [calls(call("0", "f")), result("0", "first"), calls(call("0", "g")), result("0", "second")]
    found, _ = numbered(number_chat, items)
    assert [found[1]["tool_call_id"], found[3]["tool_call_id"]] == ["functions.f:0", "functions.g:1"]


def test_even_one_that_gives_all_calls_of_a_turn_the_same_id() -> None:
    found, _ = numbered(number_chat, [calls(call("", "f"), call("", "g")), result("", "1"), result("", "2")])
    assert [item["tool_call_id"] for item in found[1:]] == ["functions.f:0", "functions.g:1"]
    assert [item["content"] for item in found[1:]] == ["1", "2"]


def test_an_id_that_is_another_call_s_number_is_not_taken_for_it() -> None:
    items = [calls(call("functions.f:1", "f"), call("x", "f")), result("x", "second"), result("functions.f:1", "first")]
    found, _ = numbered(number_chat, items)
    assert [(item["tool_call_id"], item["content"]) for item in found[1:]] == [
        ("functions.f:0", "first"),
        ("functions.f:1", "second"),
    ]


def test_a_result_that_names_its_call_by_the_number_that_it_gets_is_that_call_s() -> None:
    items = [calls(call("", "f"), call("b", "f")), result("b", "2"), result("functions.f:0", "1")]
    found, _ = numbered(number_chat, items)
    assert [(item["tool_call_id"], item["content"]) for item in found[1:]] == [
        ("functions.f:0", "1"),
        ("functions.f:1", "2"),
    ]


def test_a_result_of_no_call_stays_as_and_where_it_is() -> None:
    items = [
        result("lost"),
        calls(call("b", "g"), call("a", "f")),
        result("a", "2"),
        result("nobody"),
        result("b", "1"),
    ]
    found, _ = numbered(number_chat, items)
    assert found[0] == items[0]
    assert [item["content"] for item in found[2:]] == ["1", "sunny", "2"]
    assert found[3] == items[3]


def test_a_result_that_comes_late_still_names_its_call() -> None:
    found, _ = numbered(number_chat, [calls(call("a", "f")), USER, result("a")])
    assert found[2]["tool_call_id"] == "functions.f:0"


def test_a_call_without_a_name_is_counted_and_left_alone() -> None:
    broken = {"id": "x", "type": "function", "function": {"arguments": "{}"}}
    found, history = numbered(number_chat, [calls(broken, call("a", "f")), result("x"), result("a")])
    assert found[0]["tool_calls"] == [broken, call("functions.f:1", "f")]
    assert [item["tool_call_id"] for item in found[1:]] == ["x", "functions.f:1"]
    assert history.calls == 2


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": ""}], ""),
        ([{"type": "text", "text": "I look"}, {"type": "text", "text": " it up"}], "I look it up"),
    ],
)
def test_what_is_said_beside_a_call_is_one_text(content: Any, text: str) -> None:
    found, history = numbered(number_chat, [calls(call("functions.get_weather:0"), content=content)])
    assert found[0]["content"] == text
    assert (history.emptied, history.renumbered) == (True, False)


def test_also_where_nothing_is_said() -> None:
    message = calls(call("functions.get_weather:0"))
    del message["content"]
    found, _ = numbered(number_chat, [message])
    assert found[0]["content"] == ""


@pytest.mark.parametrize(
    "content",
    ["", "text", [{"type": "image_url", "image_url": {"url": "x"}}], [{"type": "text", "text": 1}], ["a"], [1]],
)
def test_what_is_more_than_text_stays(content: Any) -> None:
    items = [calls(call("functions.get_weather:0"), content=content)]
    found, history = numbered(number_chat, items)
    assert found == items
    assert not history.emptied


def test_everything_else_stays_exactly_as_it_was_written() -> None:
    messages = (
        rb'[{"role":"user","content":"\u00e9 1.0"},{"role":"assistant","x":1.00,'
        rb'"tool_calls":[{"function":{"name":"f","arguments":"{ }","y":1e2},"id":"a"}],"content":""}]'
    )
    history = number_chat(Raw(messages))
    assert bytes(history.items or b"") == messages.replace(b'"id":"a"', b'"id":"functions.f:0"')


# The other APIs


def test_anthropic_s_blocks_are_numbered_alike() -> None:
    use_a = {"type": "tool_use", "id": "toolu_a", "name": "f", "input": {}}
    use_b = {"type": "tool_use", "id": "toolu_b", "name": "g", "input": {"x": 1}}
    text = {"type": "text", "text": "so"}
    items = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [text, use_a, use_b]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_b", "content": "2"},
                text,
                {"type": "tool_result", "tool_use_id": "toolu_a", "content": "1"},
            ],
        },
    ]
    found, history = numbered(number_messages, items)
    assert [block.get("id") for block in found[1]["content"]] == [None, "functions.f:0", "functions.g:1"]
    assert found[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "functions.f:0", "content": "1"},
        text,
        {"type": "tool_result", "tool_use_id": "functions.g:1", "content": "2"},
    ]
    assert history.client_ids == {"functions.f:0": "toolu_a", "functions.g:1": "toolu_b"}
    assert history.calls == 2


def test_the_items_of_responses_too() -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_b", "name": "g", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call_output", "call_id": "call_b", "output": "2"},
        {"type": "function_call_output", "call_id": "call_a", "output": "1"},
        {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_a", "output": "3"},
    ]
    found, history = numbered(number_responses, items)
    assert [item.get("call_id") for item in found] == [
        None,
        "functions.f:0",
        "functions.g:1",
        "functions.f:0",
        "functions.g:1",
        "functions.f:2",
        "functions.f:2",
    ]
    assert [item["output"] for item in found if "output" in item] == ["1", "2", "3"]
    assert found[2]["id"] == "fc_1"
    assert history.calls == 3


# In a request


def test_a_request_says_what_was_changed_and_what_the_client_knows() -> None:
    request = prepared(BACKEND, ask(messages=[USER, calls(call("a"), content=None), result("a")]))
    assert request.transforms == ("tool_ids", "tool_content")
    assert request.notes.client_call_ids == {"functions.get_weather:0": "a"}
    assert request.notes.next_call_index == 1


@pytest.mark.parametrize(
    ("operation", "field", "history"),
    [
        (Operation.TOKENIZE, "messages", [calls(call("a"))]),
        (
            Operation.MESSAGES,
            "messages",
            [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f"}]}],
        ),
        (
            Operation.COUNT_TOKENS,
            "messages",
            [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f"}]}],
        ),
        (Operation.RESPONSES, "input", [{"type": "function_call", "call_id": "a", "name": "f"}]),
    ],
)
def test_what_counts_tokens_counts_those_that_would_be_read(
    operation: Operation, field: str, history: list[Any]
) -> None:
    assert prepared(BACKEND, ask(operation, **{field: history})).transforms == ("tool_ids",)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "tool_calls"}}]},
        {"messages": [{"role": "user", "content": 'my "tool_calls"'}]},
        {"messages": [{"role": "assistant", "content": "", "tool_calls": None}]},
        {"messages": [{"role": "assistant", "content": "", "tool_calls": "x"}]},
        {"messages": [{"role": "assistant", "content": "", "tool_calls": []}]},
        {"messages": ["tool_calls", 1, None, {"tool_call_id": 3}]},
    ],
)
def test_a_conversation_without_calls_stays_the_very_same(fields: dict[str, Any]) -> None:
    request_call = ask(**fields)
    assert prepared(BACKEND, request_call).body is request_call.body
