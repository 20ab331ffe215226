"""What is refused, and how that reads."""

from typing import Any

import pytest

from tests.engines.torch_reference.engine_process import MODEL_NAME, Engine

CHAT: dict[str, Any] = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "hi"}]}
TEXT: dict[str, Any] = {"model": MODEL_NAME, "prompt": "the"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}

REFUSED_CHATS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"model": "other"}, 404, "model"),
    ({"messages": []}, 400, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 400, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages"),
    ({"temperature": -1}, 400, "temperature"),
    ({"temperature": 3}, 400, "temperature"),
    ({"temperature": "warm"}, 400, "temperature"),
    ({"top_p": 0}, 400, "top_p"),
    ({"top_k": -5}, 400, "top_k"),
    ({"n": 0}, 400, "n"),
    ({"n": 9}, 400, "n"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_tokens": 1.5}, 400, "max_tokens"),
    ({"max_tokens": 100_000}, 400, "max_tokens"),
    ({"max_completion_tokens": -1}, 400, "max_completion_tokens"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
    ({"stop": ""}, 400, "stop"),
    ({"presence_penalty": 1}, 400, "presence_penalty"),
    ({"frequency_penalty": 0.1}, 400, "frequency_penalty"),
    ({"logit_bias": {"1": 5}}, 400, "logit_bias"),
    ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
    ({"top_logprobs": 2}, 400, "top_logprobs"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, 400, "response_format"),
    ({"guided_regex": "a+"}, 400, "guided_regex"),
    ({"tool_choice": "required"}, 400, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, 400, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "sometimes"}, 400, "tool_choice"),
    ({"tools": [{"type": "function"}]}, 400, "tools"),
    ({"functions": [{"name": "f"}]}, 400, "functions"),
    ({"chat_template_kwargs": {"chat_template": "x"}}, 400, "chat_template_kwargs"),
    ({"messages": [{"role": "user", "content": "the " * 5000}]}, 400, "max_tokens"),
    ({"messages": [{"role": "user", "content": "x" * 5_000_000}]}, 400, "max_tokens"),
]
REFUSED_COMPLETIONS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"model": "other"}, 404, "model"),
    ({"prompt": ""}, 400, "prompt"),
    ({"prompt": []}, 400, "prompt"),
    ({"prompt": [1, "a"]}, 400, "prompt"),
    ({"prompt": [-1]}, 400, "prompt"),
    ({"prompt": [100_000]}, 400, "prompt"),
    ({"prompt": [[1], []]}, 400, "prompt"),
    ({"prompt": ["a"] * 9}, 400, "prompt"),
    ({"prompt": 5}, 400, "prompt"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"logprobs": 21}, 400, "logprobs"),
    ({"suffix": "x"}, 400, "suffix"),
    ({"best_of": 3}, 400, "best_of"),
]


def check_shape(reply: Any, status: int, param: str | None) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["message"]
    for leak in ("Traceback", "/root", "/work", "site-packages", ".py", "torch."):
        assert leak not in reply.text
    return error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("change", "status", "param"), REFUSED_CHATS)
def test_refused_chats(
    random_engine: Engine, change: dict[str, Any], status: int, param: str | None, stream: bool
) -> None:
    check_shape(random_engine.http.post("/v1/chat/completions", json=CHAT | change | {"stream": stream}), status, param)


@pytest.mark.parametrize(("change", "status", "param"), REFUSED_COMPLETIONS)
def test_refused_completions(random_engine: Engine, change: dict[str, Any], status: int, param: str | None) -> None:
    check_shape(random_engine.http.post("/v1/completions", json=TEXT | change), status, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 50_000, b'{"model": "\\ud800"}'])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize"])
def test_bodies_that_are_no_request(random_engine: Engine, path: str, body: bytes) -> None:
    reply = random_engine.http.post(path, content=body)
    assert reply.status_code == 400, reply.text
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_stream_options_belong_to_a_stream(random_engine: Engine) -> None:
    body = CHAT | {"stream_options": {"include_usage": True}}
    check_shape(random_engine.http.post("/v1/chat/completions", json=body), 400, "stream_options")


def test_missing_fields_are_named(random_engine: Engine) -> None:
    check_shape(random_engine.http.post("/v1/chat/completions", json={"messages": []}), 400, "model")
    check_shape(random_engine.http.post("/v1/completions", json={"model": MODEL_NAME}), 400, "prompt")


def test_codes_that_clients_rely_on(random_engine: Engine) -> None:
    post = random_engine.http.post
    unknown = check_shape(post("/v1/chat/completions", json=CHAT | {"model": "other"}), 404, "model")
    assert unknown["code"] == "model_not_found"
    too_long = check_shape(post("/v1/chat/completions", json=CHAT | {"max_tokens": 9999}), 400, "max_tokens")
    assert too_long["code"] == "context_length_exceeded"
    assert "4096" in too_long["message"]


def test_routes_that_do_not_exist(random_engine: Engine) -> None:
    assert random_engine.http.get("/v1/nothing").json()["error"]["code"] == "http_error"
    assert random_engine.http.get("/v1/nothing").status_code == 404
    wrong = random_engine.http.get("/v1/chat/completions")
    assert wrong.status_code == 405
    assert wrong.json()["error"]["type"] == "invalid_request_error"


def test_a_body_that_is_too_large(random_engine: Engine) -> None:
    reply = random_engine.http.post("/v1/completions", content=b" " * (33 * 1024 * 1024))
    assert reply.status_code == 413
    assert reply.json()["error"]["message"] == "the body is too large"


def test_tokenize_refuses_what_generation_would(random_engine: Engine) -> None:
    post = random_engine.http.post
    check_shape(post("/tokenize", json={"model": "other", "prompt": "x"}), 404, "model")
    check_shape(post("/tokenize", json={"model": MODEL_NAME, "messages": []}), 400, "messages")
    check_shape(post("/tokenize", json={"model": MODEL_NAME}), 400, "prompt")
    assert post("/tokenize", json={"model": MODEL_NAME, "prompt": "the quick"}).json()["count"] == 2


def test_the_engine_still_serves_after_all_that(random_engine: Engine) -> None:
    assert random_engine.http.get("/health").status_code == 200
    assert random_engine.chat(max_tokens=2).usage.completion_tokens <= 2
    assert random_engine.metric("requests_running") == 0
    assert "Traceback" not in random_engine.log.read_text()
