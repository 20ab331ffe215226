"""How request bodies are read and judged."""

import json
from typing import Any

import pytest

from backends.torch_reference.engine import options
from backends.torch_reference.engine.bodies import decode_body, ignored_parameters
from backends.torch_reference.engine.chat_template import check_template_arguments, count_calls, template_messages
from backends.torch_reference.engine.errors import InvalidRequest
from backends.torch_reference.engine.protocol import ChatRequest, CompletionRequest, Message
from backends.torch_reference.engine.sequence import SamplingParams

USER = {"role": "user", "content": "hi"}


def chat(**fields: Any) -> ChatRequest:
    return decode_body(json.dumps({"model": "m", "messages": [USER], **fields}).encode(), ChatRequest)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"messages": []}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": "hi"}', "messages"),
        (b'{"model": "m", "messages": [{"role": "robot"}]}', "messages"),
        (b'{"model": "m", "messages": [], "temperature": "hot"}', "temperature"),
        (b'{"model": "m", "messages": [], "max_tokens": 1.5}', "max_tokens"),
        (b'{"model": "m", "messages": [], "temperature": 1e999}', "temperature"),
        (b'{"model": "m", "messages": [], "stop": [1]}', "stop"),
        (b'{"model": "m", "messages": [], "tool_choice": "maybe"}', "tool_choice"),
    ],
)
def test_a_bad_body_is_refused_with_the_parameter_to_blame(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_body(body, ChatRequest)
    assert refused.value.param == param
    assert refused.value.status == 400


def test_unknown_fields_are_named_and_odd_names_only_counted() -> None:
    body = {"model": "m", "messages": [USER], "user": "u", "top_a": 1, "bad\r\nname": 1, "é": 2}
    assert ignored_parameters(json.dumps(body).encode(), ChatRequest) == "user, top_a, and-2-more"
    assert ignored_parameters(json.dumps({"model": "m", "messages": [USER]}).encode(), ChatRequest) == ""
    many = {f"f{number}": 1 for number in range(30)}
    assert ignored_parameters(json.dumps(many).encode(), CompletionRequest).endswith("f19, and-10-more")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"guided_json": {}}, "guided_json"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"min_p": 0.1}, "min_p"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"best_of": 2}, "best_of"),
    ],
)
def test_what_would_change_the_answer_is_refused_rather_than_ignored(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match="not supported") as refused:
        options.refuse_unsupported(chat(**fields))
    assert refused.value.param == param


def test_neutral_values_pass() -> None:
    options.refuse_unsupported(
        chat(
            presence_penalty=0,
            frequency_penalty=0.0,
            repetition_penalty=1,
            min_p=0,
            logit_bias={},
            best_of=1,
            response_format={"type": "text"},
        )
    )


def test_sampling_falls_back_to_the_checkpoint() -> None:
    defaults = SamplingParams(temperature=0.6, top_p=0.9, top_k=7)
    assert options.sampling_params(chat(), defaults) == defaults
    asked = options.sampling_params(chat(temperature=0, top_p=1, top_k=-1, seed=3), defaults)
    assert asked == SamplingParams(temperature=0, top_p=1, top_k=0, seed=3)


@pytest.mark.parametrize(
    "fields", [{"temperature": -0.1}, {"temperature": 2.1}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -2}]
)
def test_sampling_out_of_bounds_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        options.sampling_params(chat(**fields), SamplingParams())
    assert refused.value.param == next(iter(fields))


@pytest.mark.parametrize(
    ("wanted", "prompt_tokens", "default", "expected"),
    [(5, 10, None, 5), (90, 10, None, 90), (None, 10, None, 90), (None, 10, 16, 16), (None, 95, 16, 5)],
)
def test_the_budget_fits_the_context(
    wanted: int | None, prompt_tokens: int, default: int | None, expected: int
) -> None:
    assert options.token_budget(wanted, prompt_tokens, 100, default=default, param="max_tokens") == expected


@pytest.mark.parametrize(
    ("wanted", "prompt_tokens"), [(91, 10), (1, 100), (None, 100), (None, 500), (0, 10), (-1, 10), (1, 0)]
)
def test_what_does_not_fit_is_refused(wanted: int | None, prompt_tokens: int) -> None:
    with pytest.raises(InvalidRequest):
        options.token_budget(wanted, prompt_tokens, 100, default=None, param="max_tokens")


def messages(*turns: dict[str, Any]) -> list[Message]:
    return chat(messages=list(turns)).messages


def test_content_parts_are_joined_as_kimis_template_prints_them() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert template_messages(messages({"role": "user", "content": parts})) == [{"role": "user", "content": "ab"}]


def test_history_keeps_ids_and_spelling() -> None:
    call = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": '{ "a" : 1 }'}}
    turns = messages(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "1"},
        {"role": "developer", "content": "d"},
    )
    assert template_messages(turns) == [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "functions.f:0"},
        {"role": "system", "content": "d"},
    ]
    assert count_calls(turns) == 1


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": None},
        {"role": "user"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "tool", "content": "1"},
        {"role": "user", "content": "x", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
    ],
)
def test_messages_that_cannot_be_rendered_are_refused(turn: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        template_messages(messages(turn))
    assert refused.value.param == "messages"


def test_template_arguments_may_not_replace_the_conversation() -> None:
    assert check_template_arguments({"thinking": False}) == {"thinking": False}
    assert check_template_arguments(None) == {}
    with pytest.raises(InvalidRequest):
        check_template_arguments({"chat_template": "{{ 1 }}"})
