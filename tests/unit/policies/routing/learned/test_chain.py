from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Call, Operation
from policies.routing.learned.chain import chain
from tests.unit.builders import make_call

Message = dict[str, str]


def message(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def chat(*messages: Message, separators: tuple[str, str] = (",", ":"), **fields: Any) -> Call:
    body = json.dumps({"model": "kimi-k2", "messages": messages, **fields}, separators=separators)
    return make_call(body=body.encode())


def common(one: Call, other: Call, owner: str = "t") -> int:
    """Bytes of the longer call's prompt that the shorter one was sent as a whole or in part, as an index would find it."""
    sent, asked = chain(one, owner), chain(other, owner)
    places = {*sent.links, *sent.ends[-1:]}
    return max((size for link, size in (*asked.links, *asked.ends) if (link, size) in places), default=0)


FIRST = [message("system", "Be brief."), message("user", "What is a gate?")]
THEN = [message("assistant", "A network that picks experts."), message("user", "And an expert?")]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (",\n    ", ": ")])
def test_the_next_turn_finds_all_of_the_turn_before(separators: tuple[str, str]) -> None:
    before = chat(*FIRST, separators=separators)
    assert common(before, chat(*FIRST, *THEN, separators=separators)) == len(bytes(before.fields["messages"])) - 1


def test_so_it_does_with_tools_called_in_between() -> None:
    tools = [message("assistant", ""), *[message("tool", f"result {number}") for number in range(5)]]
    assert common(chat(*FIRST), chat(*FIRST, *tools, message("user", "So?"))) > 0


def test_another_conversation_finds_nothing() -> None:
    assert common(chat(message("user", "Good day.")), chat(*FIRST)) == 0


def test_a_long_common_beginning_is_found_to_within_a_step() -> None:
    system = message("system", "You are careful. " * 1_000)
    size = len(system["content"])
    found = common(chat(system, message("user", "a")), chat(system, message("user", "b")))
    assert size - 2_048 <= found <= size + 64


def test_other_tools_are_another_beginning_and_the_same_ones_are_a_common_one() -> None:
    one, other = [{"name": "search"}], [{"name": "fetch"}]
    assert common(chat(*FIRST, tools=one), chat(*FIRST, *THEN, tools=other)) == 0
    assert common(chat(message("user", "a"), tools=one), chat(message("user", "b"), tools=one)) == len(
        '[{"name":"search"}]'
    )


def test_tenants_share_no_beginning() -> None:
    sent, asked = chain(chat(*FIRST), "one"), chain(chat(*FIRST), "other")
    assert not {*sent.ends} & {*asked.ends}


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        (Operation.COMPLETIONS, "prompt", "Once upon a time " * 100),
        (Operation.RESPONSES, "input", [message("user", "Good day. " * 100)]),
        (Operation.MESSAGES, "messages", [message("user", "Good day. " * 100)]),
        (Operation.COUNT_TOKENS, "messages", [message("user", "Good day. " * 100)]),
        (Operation.TOKENIZE, "messages", [message("user", "Good day. " * 100)]),
    ],
)
def test_each_operation_has_a_prompt(operation: Operation, field: str, value: Any) -> None:
    call = make_call(operation=operation, body=json.dumps({"model": "k", field: value}).encode())
    assert chain(call, "t").links


@pytest.mark.parametrize("operation", Operation)
def test_no_operation_is_forgotten(operation: Operation) -> None:
    assert chain(make_call(operation=operation, body=b"{}"), "t").size == 0


@pytest.mark.parametrize("body", [b'{"model":"k"}', b'{"messages":[]}', b'{"messages":""}', b'{"messages":null}'])
def test_a_call_without_a_prompt_has_no_chain_to_speak_of(body: bytes) -> None:
    assert not chain(make_call(body=body), "t").links


texts = st.text(max_size=700)
conversations = st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), texts), min_size=1, max_size=8)


@given(conversations, st.integers(1, 8))
def test_any_conversation_finds_its_own_beginning_and_never_more_than_is_there(
    said: list[tuple[str, str]], turns: int
) -> None:
    messages = [message(*each) for each in said]
    before, now = chat(*messages[:turns]), chat(*messages)
    size = len(bytes(before.fields["messages"]))
    assert common(before, now) == size - 1


@given(conversations, conversations)
def test_what_two_prompts_have_in_common_is_never_overestimated(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    left, right = chat(*[message(*each) for each in one]), chat(*[message(*each) for each in other])
    found = common(left, right)
    assert bytes(left.fields["messages"])[:found] == bytes(right.fields["messages"])[:found]
