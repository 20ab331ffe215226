from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from backends.openai_compatible import EngineSettings, OpenAICompatible
from backends.parameters import INTERNAL
from backends.sent import Sent
from gateway import Model, Operation
from gateway.http.peeks import ChatPeek
from tests.unit.backends.asking import ask, call_of, prepared
from tests.unit.builders import CHECKPOINT, make_call, make_replica

BACKEND = OpenAICompatible()


def sent(body: bytes, served_model: str = "kimi-k2") -> bytes:
    return prepared(BACKEND, call_of(body), served_model=served_model).body


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "kimi-k2", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


# What the gateway edits, and what it leaves alone


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        chat(stream=True, stream_options={"include_usage": True}),
        chat(temperature=0, tools=[], response_format={"type": "json_object"}, anything=[None]),
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


def test_stream_options_without_a_stream_are_left_out_because_half_of_the_engines_refuse_them() -> None:
    request = prepared(BACKEND, ask(stream_options={"include_usage": True}))
    assert "stream_options" not in json.loads(request.body)
    assert request.dropped_params == ("stream_options",)


@pytest.mark.parametrize("operation", [Operation.RESPONSES, Operation.MESSAGES])
def test_streams_that_tell_of_their_usage_anyway_are_not_asked_for_it(operation: Operation) -> None:
    call = ask(operation, stream=True)
    assert prepared(BACKEND, call).body is call.body


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
KNOWN = frozenset(ChatPeek.__struct_fields__) | INTERNAL


@given(st.dictionaries(st.text().filter(lambda key: key not in KNOWN), json_values, max_size=4))
def test_any_other_field_arrives_as_it_is(fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "kimi-k2", "messages": [1], "stream": True, **fields}).encode()
    arrived = json.loads(sent(body, "other"))
    assert {key: arrived[key] for key in fields} == json.loads(json.dumps(fields))
    assert arrived["model"] == "other"


# What is the gateway's to say


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_what_is_the_gateway_s_to_say_is_taken_from_every_client(name: str) -> None:
    request = prepared(BACKEND, ask(**{name: "mine"}))
    assert name not in json.loads(request.body)
    assert request.transforms == ("strip_internal",)


def test_however_its_name_is_written() -> None:
    assert b"riority" not in sent(b'{"model":"kimi-k2","messages":[1],"\\u0070riority":9,"priority":9}')


def test_among_the_template_s_variables_too() -> None:
    request = prepared(BACKEND, ask(chat_template_kwargs={"chat_template": "{{ x }}", "tools": [], "mine": 1.50}))
    assert json.loads(request.body)["chat_template_kwargs"] == {"mine": 1.5}
    assert request.transforms == ("strip_internal",)


@pytest.mark.parametrize("variables", [None, {}, {"thinking": True}, 7, [], "x"])
def test_variables_of_a_template_that_are_a_client_s_are_left(variables: Any) -> None:
    call = ask(chat_template_kwargs=variables)
    assert prepared(BACKEND, call).body is call.body


# Defaults


DEFAULTS = {"temperature": Raw(b"0.6"), "top_p": Raw(b"0.95"), "max_tokens": Raw(b"256"), "stop": Raw(b'"END"')}
MODEL = Model("kimi-k2", (), CHECKPOINT, DEFAULTS)


def test_the_model_s_defaults_are_sent_where_the_client_says_nothing() -> None:
    request = prepared(BACKEND, ask(of={"model": MODEL}, temperature=0, top_p=None))
    body = json.loads(request.body)
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["stop"]) == (0, 0.95, 256, "END")
    assert request.transforms == ("defaults",)


def test_a_client_that_says_all_gets_no_defaults() -> None:
    call = ask(of={"model": MODEL}, temperature=1, top_p=1, max_completion_tokens=9, stop=[])
    assert prepared(BACKEND, call).body is call.body


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Operation.COMPLETIONS, {"temperature": 0.6, "top_p": 0.95, "max_tokens": 256, "stop": "END"}),
        (Operation.RESPONSES, {"temperature": 0.6, "top_p": 0.95, "max_output_tokens": 256, "stop": "END"}),
        (Operation.MESSAGES, {"temperature": 0.6, "top_p": 0.95, "stop_sequences": ["END"]}),
        (Operation.COUNT_TOKENS, {}),
        (Operation.TOKENIZE, {}),
    ],
)
def test_each_operation_has_its_own_names_for_them(operation: Operation, expected: dict[str, Any]) -> None:
    call = ask(operation, of={"model": MODEL})
    assert json.loads(prepared(BACKEND, call).body) == {**json.loads(call.body), **expected}


def test_a_model_that_was_configured_anew_has_its_new_defaults() -> None:
    backend = OpenAICompatible()
    for temperature in (b"0.1", b"0.2"):
        model = Model("kimi-k2", (), CHECKPOINT, {"temperature": Raw(temperature)})
        assert json.loads(prepared(backend, ask(of={"model": model})).body)["temperature"] == float(temperature)


# The rest of the request


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        (Operation.CHAT, "/v1/chat/completions"),
        (Operation.COMPLETIONS, "/v1/completions"),
        (Operation.RESPONSES, "/v1/responses"),
        (Operation.MESSAGES, "/v1/messages"),
        (Operation.COUNT_TOKENS, "/v1/messages/count_tokens"),
        (Operation.TOKENIZE, "/tokenize"),
    ],
)
def test_each_operation_has_its_path(operation: Operation, path: str) -> None:
    assert prepared(BACKEND, ask(operation)).path == path


def test_the_engine_learns_the_attempt_and_nothing_of_the_caller() -> None:
    call = make_call(headers=((b"authorization", b"Bearer mg-secret"), (b"cookie", b"x"), (b"x-request-id", b"mine")))
    headers = dict(BACKEND.prepare(call, make_replica(), "id-1").headers)
    assert headers == {
        b"content-type": b"application/json",
        b"accept-encoding": b"identity",
        b"x-request-id": b"id-1",
    }


def test_who_reads_the_answer_learns_what_was_sent() -> None:
    assert prepared(BACKEND, ask(), served_model="/k2").notes == Sent(engine_model="/k2")


# Settings


def test_an_endpoint_may_do_less_or_more_than_is_usual() -> None:
    assert BACKEND.operations == {Operation.CHAT, Operation.COMPLETIONS}
    settings = EngineSettings(operations=[Operation.CHAT, Operation.RESPONSES])
    assert OpenAICompatible(settings).operations == {Operation.CHAT, Operation.RESPONSES}


def test_nothing_is_held_against_an_engine_that_nothing_is_known_of() -> None:
    assert BACKEND.objection(ask(guided_json={"type": "object"}, regex="a", bad_words=["x"]), make_replica()) is None
    assert BACKEND.capabilities == frozenset()
    assert BACKEND.abort(prepared(BACKEND, ask())) is None
