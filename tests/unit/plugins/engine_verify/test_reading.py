from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.engine_verify import reading
from plugins.engine_verify.evidence import PromptTokens


def body(**choice: Any) -> bytes:
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "total_tokens": 5}}).encode()


def test_chat_lists_its_tokens_one_by_one() -> None:
    # As vLLM, SGLang and OpenAI write them; llama.cpp adds ids, also in plain completions.
    listed = [
        {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.1}]},
        {"id": 9, "token": "!", "logprob": -0.2, "top_logprobs": [{"token": "?", "logprob": -1.5, "bytes": None}]},
    ]
    found = reading.continuation(body(logprobs={"content": listed}, token_ids=[4, 9], finish_reason="stop"))
    assert found.stopped
    assert [(each.id, each.text, each.logprob) for each in found.tokens] == [(4, "Hi", -0.1), (9, "!", -0.2)]
    assert found.tokens[1].alternatives == {"?": -1.5}
    assert found.tokens[1].alternatives_by_id == {}


def test_ids_of_alternatives_are_read_where_they_are_listed() -> None:
    listed = [{"id": 9, "token": "", "logprob": -0.2, "top_logprobs": [{"id": 7, "token": "", "logprob": -1.5}]}]
    (token,) = reading.continuation(body(logprobs={"content": listed, "tokens": ["x"]})).tokens
    assert (token.id, token.text, token.alternatives, token.alternatives_by_id) == (9, None, {}, {7: -1.5})


def test_a_list_with_holes_is_no_list() -> None:
    # sglang-kt with transformers 5: one entry, with the text of all tokens and the number of the first.
    answer = {
        "choices": [{"logprobs": {"tokens": ["lolo"], "token_logprobs": [-0.2]}}],
        "usage": {"completion_tokens": 4},
    }
    with pytest.raises(reading.Unreadable, match="of 1 of 4 tokens"):
        reading.continuation(json.dumps(answer).encode())
    answer["usage"]["completion_tokens"] = 2  # type: ignore[call-overload] # the token that ends may be counted alone
    assert len(reading.continuation(json.dumps(answer).encode()).tokens) == 1


def test_sglang_s_own_shape() -> None:
    meta = {
        "finish_reason": {"type": "stop", "matched": 754},
        "output_token_logprobs": [[-0.5, 66, None], [-0.25, 421, "lo"]],
        "output_top_logprobs": [[[-0.5, 66, None], [-4.5, 64, None]], None],
    }
    found = reading.generated(json.dumps({"text": "c", "meta_info": meta}).encode())
    assert found.stopped
    assert [(each.id, each.text, each.logprob) for each in found.tokens] == [(66, None, -0.5), (421, "lo", -0.25)]
    assert found.tokens[0].alternatives_by_id == {66: -0.5, 64: -4.5}
    with pytest.raises(reading.Unreadable):
        reading.generated(b'{"text": "c", "meta_info": {}}')


def test_plain_completions_list_them_in_columns() -> None:
    logprobs = {
        "tokens": ["a", "", "bytes:\\xe2", "\ufffd", "b"],
        "token_logprobs": [None, -1, -2, -3, -4],
        "top_logprobs": [None, {"x": -1.0, "": -2.0, "\ufffd": -3.0}, {}],
        "text_offset": [0, 1, 1, 1, 2],
    }
    found = reading.continuation(body(text="a", logprobs=logprobs, finish_reason="length"))
    assert not found.stopped
    assert [each.text for each in found.tokens] == ["a", None, None, None, "b"]
    assert [each.logprob for each in found.tokens] == [None, -1, -2, -3, -4]
    assert found.tokens[1].alternatives == {"x": -1.0}  # parts of characters are written differently everywhere


def test_sglang_calls_the_ids_of_its_chat_otherwise() -> None:
    choice = {"logprobs": {"tokens": ["a"]}, "response_token_ids": [4], "prompt_token_ids": [1, 2, 3]}
    assert reading.continuation(body(**choice)).tokens[0].id == 4
    assert reading.prompt_tokens(body(**choice)) == PromptTokens(3, (1, 2, 3))


def test_ids_that_do_not_fit_the_tokens_are_not_used() -> None:
    found = reading.continuation(body(logprobs={"tokens": ["a", "b"]}, token_ids=[1]))
    assert [each.id for each in found.tokens] == [None, None]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"choices": [{}], "usage": {"prompt_tokens": 3}}, PromptTokens(3)),
        ({"choices": [], "usage": {"prompt_tokens": 3}, "prompt_token_ids": [1, 2]}, PromptTokens(3, (1, 2))),
        ({"choices": [{"prompt_token_ids": [1, 2]}], "usage": None}, PromptTokens(2, (1, 2))),
        ({"choices": [{}]}, PromptTokens(reason="the engine reports no usage")),
    ],
)
def test_prompt_tokens_stand_in_three_places(answer: Any, expected: PromptTokens) -> None:
    assert reading.prompt_tokens(json.dumps(answer).encode()) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"choices": []}, "no choice"),
        ({"choices": [{"logprobs": None}]}, "no log-probabilities"),
        ({"choices": [{"logprobs": {}}]}, "no log-probabilities"),
        ({"choices": [{"logprobs": {"content": [{"token": 5}]}}]}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_what_is_missing_is_said(answer: Any, reason: str) -> None:
    with pytest.raises(reading.Unreadable, match=reason):
        reading.continuation(json.dumps(answer).encode())


def test_tokenize_answers_with_ids_or_with_pieces() -> None:
    assert reading.tokenized(b'{"count": 2, "tokens": [5, 6], "token_strs": null}') == (5, 6)
    assert reading.tokenized(b'{"tokens": [{"id": 5, "piece": "a"}, {"id": 6, "piece": [195]}]}') == (5, 6)


def test_served_names() -> None:
    assert reading.served_names(b'{"object": "list", "data": [{"id": "a", "root": "/x"}, {"id": "b"}]}') == ("a", "b")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "1.2"),
        ("data.0.root", "/models/x"),
        ("data.1.root", None),
        ("data.x", None),
        ("count", "7"),
        ("data", None),
        ("version.deeper", None),
        ("empty", None),
        ("none", None),
    ],
)
def test_facts_are_found_by_their_path(field: str, value: str | None) -> None:
    page = {"version": "1.2", "data": [{"root": "/models/x"}], "count": 7, "empty": "", "none": None}
    assert reading.fact(json.dumps(page).encode(), field) == value


READERS = (reading.prompt_tokens, reading.continuation, reading.generated, reading.tokenized, reading.served_names)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["choices", "logprobs", "tokens", "id"]), inner),
)


@given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
def test_an_answer_is_read_or_refused_and_nothing_else(raw: bytes) -> None:
    for read in READERS:
        try:
            read(raw)
        except reading.Unreadable:
            continue
    found = reading.fact(raw, "choices.0.id")
    assert found is None or len(found) <= 200
