from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from backends.llama_cpp import LlamaCpp
from gateway import Operation, Probe, ReplicaLoad, ReplicaState
from gateway.errors import ContextTooLong, UpstreamOverloaded, UpstreamRefused
from tests.unit.backends.asking import WEATHER, ask, prepared, sent
from tests.unit.backends.looking import Answer, probe

ENGINE = LlamaCpp()

METRICS = """\
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 30
# TYPE llamacpp:prompt_tokens_cached_total counter
llamacpp:prompt_tokens_cached_total 10
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 1
"""
SLOTS = json.dumps([{"id": 0, "is_processing": True, "prompt": "secret"}, {"id": 1, "is_processing": False}])
LOADING = httpx.Response(503, content=b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}')


# Asking it


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"repetition_penalty": 1.1}, {"repeat_penalty": 1.1, "repeat_last_n": 4096}),
        ({"logprobs": True}, {"logprobs": True, "top_logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 0}, {"logprobs": True, "top_logprobs": 1}),
        ({"thinking_token_budget": 9}, {"thinking_budget_tokens": 9}),
    ],
)
def test_it_is_asked_in_its_own_words(fields: dict[str, Any], body: dict[str, Any]) -> None:
    assert sent(ENGINE, ask(**fields), context_length=4096) == body
    assert prepared(ENGINE, ask(**fields)).transforms == ("spelling",)


def test_completions_ask_for_one_alternative_where_none_would_give_nothing() -> None:
    call = ask(Operation.COMPLETIONS, logprobs=0)
    assert sent(ENGINE, call) == {"logprobs": 1}
    assert prepared(ENGINE, call).transforms == ("spelling",)


@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": True, "top_logprobs": 3},
        {"logprobs": False},
        {"repeat_penalty": 1.1, "grammar": "root ::= a", "top_k": -1, "mirostat": 2},
        {"tools": [WEATHER], "tool_choice": "required"},
    ],
)
def test_what_it_understands_it_gets_as_it_is(fields: dict[str, Any]) -> None:
    call = ask(**fields)
    assert prepared(ENGINE, call).body is call.body


def test_null_is_left_out_because_some_of_it_would_be_refused() -> None:
    assert sent(ENGINE, ask(Operation.COMPLETIONS, best_of=None, suffix=None, echo=False)) == {"echo": False}


@pytest.mark.parametrize("name", ["id_slot", "lora", "chat_parser", "response_fields", "verbose", "cache_salt"])
def test_no_client_chooses_its_slot_or_reads_what_the_server_knows(name: str) -> None:
    assert sent(ENGINE, ask(**{name: 1})) == {}


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, {"content": "hi", "add_special": True}),
        ({"add_special_tokens": False}, {"content": "hi", "add_special_tokens": False, "add_special": False}),
        ({"add_special_tokens": None}, {"content": "hi", "add_special": True}),
    ],
)
def test_it_tokenizes_what_it_calls_content(fields: dict[str, Any], body: dict[str, Any]) -> None:
    assert sent(ENGINE, ask(Operation.TOKENIZE, **fields)) == body


def test_it_notices_a_closed_connection_by_itself() -> None:
    assert ENGINE.abort(prepared(ENGINE, ask())) is None


# Looking at it


@pytest.mark.parametrize(
    ("pages", "load", "paths"),
    [
        ({"/metrics": METRICS}, ReplicaLoad(2, 1, None, 0.25), ["/metrics"]),
        ({"/metrics": 501, "/slots": SLOTS}, ReplicaLoad(running=1), ["/metrics", "/slots"]),
        ({"/metrics": 501, "/slots": 501}, None, ["/metrics", "/slots"]),
        ({"/metrics": "llamacpp:requests_processing 0\n"}, ReplicaLoad(running=0), ["/metrics"]),
        ({"/metrics": "<html>", "/slots": b"nonsense"}, None, ["/metrics", "/slots"]),
    ],
)
async def test_its_load_comes_from_its_metrics_or_else_from_its_slots(
    pages: dict[str, Answer], load: ReplicaLoad | None, paths: list[str]
) -> None:
    found, asked = await probe(ENGINE, {"/health": 200, **pages})
    assert found == Probe(ReplicaState.READY, load=load)
    assert asked == ["/health", *paths]


@pytest.mark.parametrize(
    ("health", "before", "state"),
    [
        (LOADING, ReplicaState.STARTING, ReplicaState.STARTING),
        (LOADING, ReplicaState.READY, ReplicaState.STARTING),  # it was started again since
        (503, ReplicaState.STARTING, ReplicaState.STARTING),
        (503, ReplicaState.READY, ReplicaState.UNREACHABLE),
        (httpx.ConnectError("no"), ReplicaState.READY, ReplicaState.UNREACHABLE),
    ],
)
async def test_it_is_starting_while_it_loads_the_model(
    health: Answer, before: ReplicaState, state: ReplicaState
) -> None:
    found, asked = await probe(ENGINE, {"/health": health}, state=before)
    assert (found.state, asked) == (state, ["/health"])


# Its errors


def test_a_model_that_is_still_loading_is_tried_elsewhere() -> None:
    assert isinstance(ENGINE.read_error(503, LOADING.content), UpstreamOverloaded)


def test_a_prompt_that_does_not_fit_is_known_by_its_type() -> None:
    body = (
        b'{"error":{"code":400,"message":"the request exceeds the available size","type":"exceed_context_size_error",'
        b'"n_prompt_tokens":9000,"n_ctx":8192}}'
    )
    assert isinstance(ENGINE.read_error(400, body), ContextTooLong)


def test_a_grammar_that_is_none_is_the_client_s_fault() -> None:
    error = ENGINE.read_error(
        400, b'{"error":{"code":400,"message":"Failed to parse grammar","type":"invalid_request_error"}}'
    )
    assert isinstance(error, UpstreamRefused)
