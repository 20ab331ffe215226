from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.openai_compatible import OpenAICompatible
from backends.openai_errors import clean
from gateway import ReplicaState
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamRefused
from tests.unit.builders import make_replica

BACKEND = OpenAICompatible()

# The shapes that engines write errors in: vLLM, SGLang and TensorRT-LLM, llama.cpp, FastAPI, and one string.
SHAPES: dict[str, dict[str, Any]] = {
    "vllm": {"error": {"message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}},
    "sglang": {"object": "error", "message": "too long", "type": "BadRequestError", "param": "messages", "code": 400},
    "sglang, the status as type": {"object": "error", "message": "too long", "type": "400", "param": None, "code": 400},
    "llama.cpp": {"error": {"code": 400, "message": "too long", "type": "invalid_request_error"}},
    "fastapi": {"detail": "too long"},
    "one string": {"error": "too long"},
}


def read(status: int, body: Any) -> UpstreamError:
    return BACKEND.read_error(status, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_refusal_passes_the_engine_s_words_on(shape: str) -> None:
    error = read(400, SHAPES[shape])
    assert isinstance(error, UpstreamRefused)
    assert (error.public_message, error.engine_status) == ("too long", 400)


@pytest.mark.parametrize(
    ("shape", "engine_type", "param"),
    [
        ("vllm", "BadRequestError", "messages"),
        ("sglang", "BadRequestError", "messages"),
        ("sglang, the status as type", None, None),
        ("llama.cpp", "invalid_request_error", None),
        ("fastapi", None, None),
    ],
)
def test_with_its_type_and_the_field_to_blame_where_it_gave_them(
    shape: str, engine_type: str | None, param: str | None
) -> None:
    error = read(422, SHAPES[shape])
    assert isinstance(error, UpstreamRefused)
    assert (error.engine_type, error.param) == (engine_type, param)


@pytest.mark.parametrize("status", [400, 402, 405, 409, 410, 413, 415, 422, 451])
def test_what_the_caller_did_wrong_is_a_refusal(status: int) -> None:
    error = read(status, SHAPES["vllm"])
    assert isinstance(error, UpstreamRefused)
    assert error.engine_status == status
    assert not error.retryable


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_engine_that_cannot_now_is_overloaded(status: int, shape: str) -> None:
    error = read(status, SHAPES[shape])
    assert isinstance(error, UpstreamOverloaded)
    assert error.retryable
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
    ],
)
def test_addresses_and_paths_are_removed(text: str, leak: str) -> None:
    assert leak not in clean(text)
    assert "…" in clean(text)


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


@pytest.mark.parametrize("unit", ["a", "/a", "/", "a.", "1.", "a://", "-", "A/", "0", " /a"])
def test_no_message_takes_long_to_clean(unit: str) -> None:
    """Engines repeat what callers wrote. A pattern that is not linear would let one caller stop the event loop."""
    text = unit * (64_000 // len(unit))
    started = time.process_time()
    clean(text)
    assert time.process_time() - started < 0.5


def test_a_refusal_is_cleaned() -> None:
    error = read(400, {"error": {"message": "cannot open /models/k2/x.json on 10.1.2.3"}})
    assert error.public_message == "cannot open … on …"


# Probes


async def probe(answer: int | Exception, backend: OpenAICompatible = BACKEND) -> tuple[ReplicaState, str, str]:
    asked: list[str] = []

    def engine(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)

    async with httpx.AsyncClient(transport=httpx.MockTransport(engine)) as client:
        found = await backend.probe(client, make_replica(url="http://engine:8000/base"))
    return found.state, found.reason, asked[0]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (200, ReplicaState.READY),
        (503, ReplicaState.STARTING),
        (401, ReplicaState.UNREACHABLE),
        (404, ReplicaState.UNREACHABLE),
        (500, ReplicaState.UNREACHABLE),
        (302, ReplicaState.UNREACHABLE),
        (httpx.ConnectError("refused by engine:8000"), ReplicaState.UNREACHABLE),
        (httpx.ReadTimeout("late"), ReplicaState.UNREACHABLE),
        (httpx.RemoteProtocolError("nonsense"), ReplicaState.UNREACHABLE),
    ],
)
async def test_a_probe_never_raises_and_names_no_address(answer: int | Exception, state: ReplicaState) -> None:
    found, reason, asked = await probe(answer)
    assert found is state
    assert asked == "http://engine:8000/base/v1/models"
    assert bool(reason) is (state is not ReplicaState.READY)
    assert "engine:8000" not in reason
