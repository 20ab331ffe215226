from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.openai_compatible import OpenAICompatible
from backends.openai_errors import clean, clean_param
from gateway.errors import ContextTooLong, UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamRefused

BACKEND = OpenAICompatible()

# The shapes that engines write errors in: vLLM, SGLang and TensorRT-LLM, llama.cpp, Anthropic's API, FastAPI, and one string.
SHAPES: dict[str, dict[str, Any]] = {
    "vllm": {"error": {"message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}},
    "sglang": {"object": "error", "message": "too long", "type": "BadRequestError", "param": "messages", "code": 400},
    "sglang, the status as type": {"object": "error", "message": "too long", "type": "400", "param": None, "code": 400},
    "llama.cpp": {"error": {"code": 400, "message": "too long", "type": "invalid_request_error"}},
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}},
    "fastapi": {"detail": "too long"},
    "a fault as an object": {"error": {"message": "too long", "type": ["x"], "param": 3, "code": {}}},
    "one string": {"error": "too long"},
}


def read(status: int, body: Any) -> UpstreamError:
    return BACKEND.read_error(status, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_refusal_passes_the_engine_s_words_on(shape: str) -> None:
    error = read(400, SHAPES[shape])
    assert isinstance(error, UpstreamRefused)
    assert (error.public_message, error.engine_status) == ("too long", 400)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_engine_is_known_by_its_words_for_an_error(shape: str) -> None:
    error = read(422, SHAPES[shape])
    assert isinstance(error, UpstreamRefused)
    assert error.engine_type is None


@pytest.mark.parametrize(("shape", "param"), [("vllm", "messages"), ("sglang", "messages"), ("llama.cpp", None)])
def test_the_field_to_blame_is_named_where_the_engine_names_it(shape: str, param: str | None) -> None:
    assert read(400, SHAPES[shape]).param == param


@pytest.mark.parametrize(
    ("param", "shown"),
    [
        ("messages", "messages"),
        ("body.max_tokens", "max_tokens"),
        ("messages[0].content", "messages[0].content"),
        ("body.34", None),
        ("/srv/engine/protocol.py", None),
        ("http://engine:8000", None),
        ("a b", None),
        ("x" * 200, None),
        ("", None),
        (None, None),
    ],
)
def test_a_field_is_named_as_the_client_wrote_it_or_not_at_all(param: str | None, shown: str | None) -> None:
    assert clean_param(param) == shown
    assert read(400, {"error": {"message": "no", "param": param}}).param == shown


def test_fastapi_s_list_of_findings_is_read() -> None:
    found = {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}]}
    error = read(422, found)
    assert (error.public_message, error.param) == ("messages: Field required", "messages")


FINDINGS = {
    "vllm": "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict>'}",
    "sglang": (
        "1 validation error:\n  {'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required', 'input': {}}\n\n"
        "  File \"/x/y.py\", line 1, in z [{'loc': ('body', 'other'), 'msg': 'no'}]"
    ),
    "ktransformers": "[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required', 'input': {'model': 'x'}}]",
}


@pytest.mark.parametrize("engine", FINDINGS)
def test_all_engines_say_in_the_same_words_what_pydantic_found(engine: str) -> None:
    error = read(400, {"object": "error", "message": FINDINGS[engine], "code": 400})
    assert (error.public_message, error.param) == ("messages: Field required", "messages")


@pytest.mark.parametrize(
    ("place", "text", "param", "shown"),
    [
        ("('body', 34)", "'JSON decode error'", None, "JSON decode error"),
        (
            "('body', 'messages', 0, 'function-after[check(), UserParam]', 'role')",
            "\"Value error, 'role' is wrong\"",
            "messages.0.role",
            "messages.0.role: Value error, 'role' is wrong",
        ),
        ("('body', 'messages', 0, 'UserParam', 'content', 'str')", "'no'", "messages.0.content.str", None),
    ],
)
def test_of_a_place_only_the_client_s_own_words_are_shown(
    place: str, text: str, param: str | None, shown: str | None
) -> None:
    error = read(400, {"message": f"[{{'type': 'x', 'loc': {place}, 'msg': {text}, 'input': {{}}}}]"})
    assert error.param == param
    assert error.public_message == (shown or f"{param}: no")


@pytest.mark.parametrize(
    "message",
    ["{'loc': ", "{'loc': ('a'), 'msg': ", "{'loc': ('a'), 'msg': 'no", "'loc': 'a', 'msg': 'b'", "{'loc': x"],
)
def test_what_only_looks_like_a_finding_is_shown_as_it_is(message: str) -> None:
    assert read(400, {"message": message}).public_message == message.strip()


TOO_LONG = {
    "vllm": "This model's maximum context length is 8192 tokens. However, your prompt contains at least 8193 input tokens",
    "vllm, the answer": "max_tokens=1000000 cannot be greater than max_model_len=8192. Please request fewer output tokens.",
    "sglang": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "sglang, the answer": "Requested token count exceeds the model's maximum context length of 8192 tokens.",
    "sglang, max_tokens": "max_completion_tokens is too large: 1000000.This model supports at most 8192 completion tokens.",
    "tensorrt_llm": "The sum of prompt length (9000.0) and query length (0.0) should not exceed max_num_tokens (8192)",
    "llama_cpp": "the request exceeds the available context size, try increasing it",
    "torch_reference": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
}


@pytest.mark.parametrize("engine", TOO_LONG)
def test_a_request_that_does_not_fit_is_known_as_such_and_may_fit_elsewhere(engine: str) -> None:
    error = read(400, {"error": {"message": TOO_LONG[engine], "code": 400}})
    assert isinstance(error, ContextTooLong)
    assert (error.code, error.engine_status, error.retryable) == ("context_length_exceeded", 400, True)
    assert error.public_message == TOO_LONG[engine]


@pytest.mark.parametrize("word", [{"code": "context_length_exceeded"}, {"type": "exceed_context_size_error"}])
def test_or_by_its_own_name(word: dict[str, str]) -> None:
    assert isinstance(read(400, {"error": {"message": "no", **word}}), ContextTooLong)


@pytest.mark.parametrize("status", [400, 402, 405, 409, 410, 413, 415, 422, 451])
def test_what_the_caller_did_wrong_is_a_refusal(status: int) -> None:
    error = read(status, SHAPES["vllm"])
    assert isinstance(error, UpstreamRefused)
    assert error.engine_status == status
    assert not error.retryable


@pytest.mark.parametrize("status", [429, 502, 503, 504, 529])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_engine_that_cannot_now_is_overloaded(status: int, shape: str) -> None:
    error = read(status, SHAPES[shape])
    assert isinstance(error, UpstreamOverloaded)
    assert error.retryable
    assert error.retry_after_seconds
    assert "too long" in error.message
    assert "too long" not in error.public_message


@pytest.mark.parametrize("status", [401, 403, 404, 407, 500, 501, 505, 301, 204])
def test_what_we_or_the_engine_did_wrong_is_not_shown(status: int) -> None:
    error = read(status, SHAPES["vllm"])
    assert isinstance(error, UpstreamBroken)
    assert "too long" not in error.public_message


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad Request</html>", b"[1]", b'"x"', b"{}", b"null", b"\xff", b'{"error": 3}']
)
def test_a_body_of_no_known_shape_is_not_shown(body: bytes) -> None:
    error = read(400, body)
    assert isinstance(error, UpstreamRefused)
    assert error.public_message == "The engine refused the request with status 400."


@given(st.integers(200, 599), st.binary(max_size=80))
def test_any_answer_can_be_read(status: int, body: bytes) -> None:
    assert isinstance(BACKEND.read_error(status, body), UpstreamError)


# What a message may not say


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("see http://10.0.0.7:8000/v1/models for more", "10.0.0.7"),
        ("see https://engine-3.internal/health", "engine-3"),
        ("tcp://engine:29500 is gone", "engine:29500"),
        ("HTTP://Engine/x is gone", "Engine"),
        ("cannot connect to 192.168.1.20:8031", "192.168"),
        ("cannot connect to 192.168.1.20, sorry", "192.168"),
        ("No such file: '/models/kimi-k2/config.json'", "/models"),
        ('File "/usr/lib/python3.11/site.py", line 3', "site.py"),
        ("failed in ~/.cache/huggingface/hub", "huggingface"),
        ("path=/home/kimi/.cache/x", "/home"),
        ("(/var/run/engine.sock)", "engine.sock"),
        ("cannot connect to localhost:30000", "30000"),
        ("no C:\\models\\kimi", "kimi"),
        ("<Engine object at 0x7f3a2b4c5d6e>", "7f3a2b4c5d6e"),
        ('bad\nTraceback (most recent call last):\n  File "engine.py", line 3', "engine.py"),
    ],
)
def test_addresses_and_paths_are_removed(text: str, leak: str) -> None:
    assert leak not in clean(text)
    assert "…" in clean(text) or "Traceback" in text


@pytest.mark.parametrize(
    "text",
    [
        "3/4 of the tokens",
        "and/or",
        "tokens/second",
        "a / b",
        "1.5 of 2.0",
        "version 1.2.3",
        "ratio 1:2, at 10:30",
        "functions.get_weather:0",
        "0x41 is A",
        "`max_tokens` must be at least 1, got -1.",
        "messages[0].content: expected str",
        "naïve ☃",
        "",
    ],
)
def test_ordinary_text_is_kept(text: str) -> None:
    assert clean(text) == text


def test_a_message_is_not_endless() -> None:
    assert len(clean("a " * 50_000)) == 2_000


@pytest.mark.parametrize(
    "unit", ["a", "/a", "/", "a.", "1.", "a://", "-", "A/", "0", " /a", "~/", "C:\\\\", "0x", "localhost"]
)
def test_no_message_takes_long_to_clean(unit: str) -> None:
    """Engines repeat what callers wrote. A pattern that is not linear would let one caller stop the event loop."""
    text = unit * (64_000 // len(unit))
    started = time.process_time()
    clean(text)
    assert time.process_time() - started < 0.5


def test_a_refusal_is_cleaned() -> None:
    error = read(400, {"error": {"message": "cannot open /models/k2/x.json on 10.1.2.3"}})
    assert error.public_message == "cannot open … on …"
