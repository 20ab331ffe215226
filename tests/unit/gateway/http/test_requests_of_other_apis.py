from __future__ import annotations

import json
from typing import Any

import pytest

from gateway import Operation
from gateway.errors import InvalidRequest
from gateway.http import requests
from gateway.http.peeks import Peek

MESSAGES = [{"role": "user", "content": "hi"}]
WHOLE: dict[Operation, dict[str, Any]] = {
    Operation.MESSAGES: {"model": "k", "max_tokens": 5, "messages": MESSAGES},
    Operation.COUNT_TOKENS: {"model": "k", "messages": MESSAGES},
    Operation.RESPONSES: {"model": "k", "input": "hi"},
    Operation.TOKENIZE: {"model": "k", "prompt": "hi"},
}
REMOVED = object()


def body(operation: Operation, **fields: Any) -> bytes:
    whole = {**WHOLE[operation], **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not REMOVED}).encode()


def read(operation: Operation, **fields: Any) -> Peek:
    return requests.peek(operation, body(operation, **fields))


def facts(found: Peek) -> dict[str, Any]:
    """What the gateway makes of a request, less what stays at its default."""
    plain = {
        "streamed": False,
        "wants_usage": False,
        "sets_stream_options": False,
        "answer_limit": None,
        "caller": None,
        "declares_tools": False,
    }
    return {name: value for name in plain if (value := getattr(found, name)) != plain[name]}


@pytest.mark.parametrize(
    ("operation", "fields", "expected"),
    [
        (Operation.MESSAGES, {}, {"answer_limit": 5, "wants_usage": True}),
        (
            Operation.MESSAGES,
            {"stream": True, "tools": [{}], "system": "s", "metadata": {"user_id": "u", "other": 1}, "top_k": 40},
            {"answer_limit": 5, "wants_usage": True, "streamed": True, "declares_tools": True, "caller": "u"},
        ),
        (
            Operation.MESSAGES,
            {"system": [{"type": "text", "text": "s"}], "tools": [], "metadata": {}, "temperature": 1.5},
            {"answer_limit": 5, "wants_usage": True},
        ),
        (
            Operation.MESSAGES,
            {"system": None, "tools": None, "metadata": None, "stream": None, "temperature": None},
            {"answer_limit": 5, "wants_usage": True},
        ),
        (Operation.COUNT_TOKENS, {}, {}),
        (
            Operation.COUNT_TOKENS,
            {"tools": [{}], "system": "s", "max_tokens": "any", "stream": True},
            {"declares_tools": True},
        ),
        (Operation.RESPONSES, {}, {"wants_usage": True}),
        (
            Operation.RESPONSES,
            {"input": MESSAGES, "stream": True, "max_output_tokens": 7, "tools": [{}], "user": "u"},
            {"wants_usage": True, "streamed": True, "answer_limit": 7, "declares_tools": True, "caller": "u"},
        ),
        (
            Operation.RESPONSES,
            {"background": False, "previous_response_id": None, "stream_options": {"include_obfuscation": False}},
            {"wants_usage": True},
        ),
        (Operation.TOKENIZE, {}, {}),
        (Operation.TOKENIZE, {"prompt": ["a", "b"]}, {}),
        (Operation.TOKENIZE, {"prompt": REMOVED, "messages": MESSAGES, "tools": [{}]}, {"declares_tools": True}),
    ],
)
def test_what_is_made_of_a_request(operation: Operation, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    found = read(operation, **fields)
    assert found.model == "k"
    assert facts(found) == expected


COMMON = [({"model": REMOVED}, "model"), ({"model": None}, "model"), ({"model": 5}, "model")]
CONVERSATION = [
    ({"messages": REMOVED}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"system": 5}, "system"),
    ({"system": {}}, "system"),
    ({"tools": {}}, "tools"),
    ({"tools": "x"}, "tools"),
]
WRONG: dict[Operation, list[tuple[dict[str, Any], str]]] = {
    Operation.MESSAGES: [
        *COMMON,
        *CONVERSATION,
        ({"max_tokens": REMOVED}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"metadata": "u"}, "metadata"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ],
    Operation.COUNT_TOKENS: [*COMMON, *CONVERSATION],
    Operation.RESPONSES: [
        *COMMON,
        ({"input": REMOVED}, "input"),
        ({"input": None}, "input"),
        ({"input": {}}, "input"),
        ({"input": []}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"stream": 1}, "stream"),
        ({"user": 5}, "user"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ],
    Operation.TOKENIZE: [
        *COMMON,
        ({"prompt": REMOVED}, "prompt"),
        ({"messages": MESSAGES}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": REMOVED, "messages": "hi"}, "messages"),
        ({"prompt": REMOVED, "messages": []}, "messages"),
    ],
}


@pytest.mark.parametrize(
    ("operation", "fields", "param"),
    [(operation, fields, param) for operation, cases in WRONG.items() for fields, param in cases],
)
def test_what_makes_no_sense_is_refused_with_the_field_to_blame(
    operation: Operation, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(operation, **fields)
    error = caught.value
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert error.message.endswith(".")
    assert "$" not in error.message


@pytest.mark.parametrize("operation", WHOLE)
@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b"null", b'{"model": NaN}'])
def test_what_is_no_object_is_refused(operation: Operation, sent: bytes) -> None:
    with pytest.raises(InvalidRequest):
        requests.peek(operation, sent)


def test_a_long_text_is_not_mistaken_for_an_empty_list() -> None:
    assert read(Operation.RESPONSES, input=" " * 100)
    assert read(Operation.MESSAGES, messages=[{"content": "x" * 1_000}], tools=[{"name": "y" * 1_000}]).declares_tools
