from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Operation
from gateway.errors import InvalidRequest
from gateway.http import requests
from gateway.http.peeks import ChatPeek, CompletionsPeek

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "kimi-k2", "messages": MESSAGES, **fields}).encode()


def read(**fields: Any) -> ChatPeek:
    found = requests.peek(Operation.CHAT, chat(**fields))
    assert isinstance(found, ChatPeek)
    return found


def refused(body: bytes, operation: Operation = Operation.CHAT) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        requests.peek(operation, body)
    return caught.value


def test_a_chat_is_read_as_far_as_it_concerns_us() -> None:
    options = {"include_usage": True, "other": 1}
    found = read(stream=True, stream_options=options, max_tokens=5, user="u", other=[1, {}])
    assert (found.model, found.streamed, found.answer_limit, found.caller) == ("kimi-k2", True, 5, "u")
    assert found.sets_stream_options
    assert found.wants_usage


@pytest.mark.parametrize("options", [{}, {"include_usage": False}, {"include_usage": None}])
def test_stream_options_may_say_nothing_of_usage(options: Any) -> None:
    found = read(stream=True, stream_options=options)
    assert (found.sets_stream_options, found.wants_usage) == (True, False)


def test_a_completion_is_read_as_far_as_it_concerns_us() -> None:
    found = requests.peek(Operation.COMPLETIONS, b'{"model": "kimi-k2", "prompt": ["a", "b"], "max_tokens": 2}')
    assert isinstance(found, CompletionsPeek)
    assert (found.model, found.answer_limit, found.streamed) == ("kimi-k2", 2, False)
    assert not found.declares_tools


@pytest.mark.parametrize("prompt", ['"text"', '["a"]', "[1, 2]", "[[1], [2]]"])
def test_any_prompt_passes_unread(prompt: str) -> None:
    assert requests.peek(Operation.COMPLETIONS, b'{"model": "k", "prompt": ' + prompt.encode() + b"}")


def test_nulls_are_absent_fields() -> None:
    fields = ["stream", "stream_options", "max_tokens", "temperature", "top_p", "n", "user", "max_completion_tokens"]
    found = read(tools=None, **dict.fromkeys(fields))
    assert (found.streamed, found.answer_limit, found.caller) == (False, None, None)
    assert (found.wants_usage, found.sets_stream_options, found.declares_tools) == (False, False, False)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
    ],
)
def test_the_newer_name_of_the_limit_wins(fields: dict[str, Any], limit: int | None) -> None:
    assert read(**fields).answer_limit == limit


@pytest.mark.parametrize(
    ("tools", "declared"), [([{"type": "function"}], True), ([], False), (None, False), ([{"a": "x" * 1_000}], True)]
)
def test_whether_tools_are_declared(tools: Any, declared: bool) -> None:
    assert read(tools=tools).declares_tools is declared


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"nonsense", None),
        (b"[]", None),
        (b'"text"', None),
        (b"null", None),
        (chat() + b"x", None),
        (b'{"model": "k", "messages": [1], "temperature": NaN}', None),
        (b'{"messages": [1]}', "model"),
        (b'{"model": "k"}', "messages"),
        (chat(model=1), "model"),
        (chat(model=None), "model"),
        (chat(messages="hi"), "messages"),
        (chat(messages={}), "messages"),
        (chat(messages=None), "messages"),
        (chat(messages=[]), "messages"),
        (chat(stream="yes"), "stream"),
        (chat(stream=1), "stream"),
        (chat(stream_options=[]), "stream_options"),
        (chat(stream_options={"include_usage": "yes"}), "stream_options.include_usage"),
        (chat(max_tokens=0), "max_tokens"),
        (chat(max_tokens=-1), "max_tokens"),
        (chat(max_tokens=1.5), "max_tokens"),
        (chat(max_tokens="5"), "max_tokens"),
        (chat(max_tokens=2**31), "max_tokens"),
        (chat(max_tokens=10**40), "max_tokens"),
        (chat(max_completion_tokens=0), "max_completion_tokens"),
        (chat(temperature=-0.1), "temperature"),
        (chat(temperature=2.1), "temperature"),
        (chat(top_p=1.1), "top_p"),
        (chat(n=0), "n"),
        (chat(n=129), "n"),
        (chat(presence_penalty=3), "presence_penalty"),
        (chat(frequency_penalty=-3), "frequency_penalty"),
        (chat(user=5), "user"),
    ],
)
def test_what_no_engine_could_make_sense_of_is_refused_with_the_field_to_blame(body: bytes, param: str | None) -> None:
    error = refused(body)
    assert error.param == param
    assert error.status == 400
    assert error.message.startswith(param or "The body")
    assert error.message.endswith(".")
    assert "$" not in error.message


def test_a_list_with_blanks_in_it_is_empty_too() -> None:
    assert refused(b'{"model": "k", "messages": [ \n ]}').param == "messages"


@pytest.mark.parametrize("field", ["messages", "other", "tools"])
def test_nesting_without_end_is_refused(field: str) -> None:
    bomb = b"[" * 100_000 + b"]" * 100_000
    body = chat().rstrip(b"}") + b', "%s": %s}' % (field.encode(), bomb)
    assert refused(body).message == "The body is nested too deeply."


@pytest.mark.parametrize("where", ["model", "user"])
def test_text_that_is_no_unicode_is_refused(where: str) -> None:
    body = chat(**{where: "X"}).replace(b'"X"', b'"\xff"')
    assert refused(body).message.startswith("The body is not valid JSON")


@given(st.binary(max_size=60))
def test_any_bytes_at_all_are_read_or_refused(body: bytes) -> None:
    for operation in Operation:
        with contextlib.suppress(InvalidRequest):
            assert requests.peek(operation, body).model is not None


def test_the_cut_keeps_every_value_as_it_was_written() -> None:
    fields = requests.cut(b'{"model": "k" , "messages":[ 1,  2 ], "n": 1e0, "model": "l"}')
    assert {name: bytes(value) for name, value in fields.items()} == {
        "model": b'"l"',
        "messages": b"[ 1,  2 ]",
        "n": b"1e0",
    }
