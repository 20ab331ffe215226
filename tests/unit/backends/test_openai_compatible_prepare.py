from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.openai_compatible import OpenAICompatible
from gateway import Call, Operation
from gateway.http import requests
from tests.unit.builders import make_call, make_replica

BACKEND = OpenAICompatible()


def call_of(body: bytes, operation: Operation = Operation.CHAT) -> Call:
    """A call as the edge would read it from this body."""
    found = requests.peek(operation, body)
    return make_call(
        operation=operation,
        body=body,
        requested_model=found.model,
        stream=bool(found.stream),
        wants_usage=found.stream_options is not None and bool(found.stream_options.include_usage),
        sets_stream_options=found.stream_options is not None,
    )


def sent(body: bytes, served_model: str = "kimi-k2") -> bytes:
    return BACKEND.prepare(call_of(body), make_replica(served_model=served_model), "attempt").body


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "kimi-k2", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


# What the gateway edits, and what it leaves alone


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        chat(stream=False, stream_options={"include_usage": False}),
        chat(stream=True, stream_options={"include_usage": True}),
        b' { "messages" : [1] , "model" : "kimi-k2" , "seed" : 1e2 }\n',
        b'{"model":"kimi-k2","model":"kimi-k2","messages":[1]}',
    ],
)
def test_a_body_in_which_nothing_changes_is_the_very_same(body: bytes) -> None:
    assert sent(body) is body


def test_the_model_gets_the_name_that_the_engine_knows() -> None:
    body = chat(seed=7)
    assert json.loads(sent(body, "/models/k2")) == {**json.loads(body), "model": "/models/k2"}


def test_an_alias_is_renamed_too() -> None:
    assert json.loads(sent(chat(model="kimi-latest")))["model"] == "kimi-k2"


@pytest.mark.parametrize(
    ("options", "sent_options"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": None}}, {"include_usage": True}),
        ({"stream_options": {"other": 1}}, {"other": 1, "include_usage": True}),
    ],
)
def test_a_stream_is_asked_for_its_usage(options: dict[str, Any], sent_options: dict[str, Any]) -> None:
    body = chat(stream=True, **options)
    assert json.loads(sent(body)) == {**json.loads(body), "stream_options": sent_options}


EXACT = {
    "big": b"123456789012345678901234567890",
    "negative": b"-0",
    "float": b"1.000000000000000000001E+2",
    "escaped": rb'"\u00e9\ud83d\ude00\/"',
    "plain": '"é😀"'.encode(),
    "nested": b'{ "a" : [ 1 , {"b":null} ] }',
    "literals": b"[true,false,null]",
    "spaces": b"[\n\t1\r\n]",
}


@pytest.mark.parametrize("name", EXACT)
def test_every_other_value_stays_exactly_as_it_was_written(name: str) -> None:
    body = b'{"model":"kimi-k2","stream":true,"messages":[1],"%s":%s}' % (name.encode(), EXACT[name])
    raw = msgspec.json.decode(sent(body, "other"), type=dict[str, msgspec.Raw])
    assert bytes(raw[name]) == EXACT[name]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.text().filter(lambda key: key not in requests.ChatPeek.__struct_fields__), json_values, max_size=4
    )
)
def test_any_other_field_arrives_as_it_is(fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "kimi-k2", "messages": [1], "stream": True, **fields}).encode()
    arrived = json.loads(sent(body, "other"))
    assert {key: arrived[key] for key in fields} == json.loads(json.dumps(fields))
    assert arrived["model"] == "other"


# The rest of the request


@pytest.mark.parametrize(
    ("operation", "path"), [(Operation.CHAT, "/v1/chat/completions"), (Operation.COMPLETIONS, "/v1/completions")]
)
def test_each_operation_has_its_path(operation: Operation, path: str) -> None:
    body = b'{"model":"kimi-k2","prompt":"a","messages":[1]}'
    assert BACKEND.prepare(call_of(body, operation), make_replica(), "x").path == path


def test_the_engine_learns_the_attempt_and_nothing_of_the_caller() -> None:
    call = make_call(headers=((b"authorization", b"Bearer mg-secret"), (b"cookie", b"x"), (b"x-vllm-priority", b"0")))
    headers = dict(BACKEND.prepare(call, make_replica(), "id-1").headers)
    assert headers == {
        b"content-type": b"application/json",
        b"accept-encoding": b"identity",
        b"x-request-id": b"id-1",
    }
