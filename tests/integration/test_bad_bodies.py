"""A body that makes no sense is refused at once, in OpenAI's shape, and no engine hears of it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.integration.asking import CHAT, COMPLETIONS, chat, completion, error_of
from tests.integration.conftest import MAX_BODY_BYTES, World
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess

MESSAGES = b'"messages":[{"role":"user","content":"hello"}]'


@pytest.fixture(autouse=True)
def untouched(world: World, gateway: GatewayProcess) -> Any:
    """No test of this file reaches an engine, nor leaves a call behind."""
    yield
    assert (world.a.state()["seen"], world.b.state()["seen"]) == (0, 0)
    assert gateway.at_rest()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"12",
        b"hello",
        b"{'model': 'kimi-k2'}",
        b'{"model":"kimi-k2",}',
        b'{"model":"kimi-k2"} x',
        b'{"model":NaN}',
        b"model=kimi-k2",
        b"\x00\x01\x02",
        b"\xef\xbb\xbf{}",
        b'{"model":"\xff\xfe"}',
        b'{"mod\x00el":"kimi-k2"}',
    ],
)
def test_what_is_no_json_object(http: httpx.Client, path: str, body: bytes) -> None:
    error = error_of(http.post(path, content=body), 400, "invalid_request")
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "inside",
    [
        b'{"model":"kimi-k2","messages":[{"role":"user","content":"\xff\xfe"}]}',
        b'{"model":"kimi-k2",%b,"metadata":{"x":"\xc3\x28"}}' % MESSAGES,
        b'{"model":"kimi-k2","messages":[{"role":"user","content":"a\x00b"}]}',
        b'{"model":"kimi-k2",%b,"x":"\n"}' % MESSAGES,
        b'{"model":"kimi-k2",%b,"x":[1,]}' % MESSAGES,
        b'{"model":"kimi-k2",%b,"x":tru}' % MESSAGES,
        b'{"model":"kimi-k2",%b,"x":01}' % MESSAGES,
        b'{"model":"kimi-k2",%b,"x":"\\ud800\\q"}' % MESSAGES,
    ],
    ids=["invalid-utf8", "invalid-utf8-in-metadata", "nul", "newline", "comma", "tru", "leading-zero", "escape"],
)
def test_what_is_wrong_in_a_part_that_the_gateway_does_not_read(http: httpx.Client, inside: bytes) -> None:
    error_of(http.post(CHAT, content=inside), 400, "invalid_request")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("where", [b'{"model":"kimi-k2","messages":%b', b'{"x":%b', b"%b"])
def test_a_nesting_bomb(http: httpx.Client, where: bytes, opening: bytes) -> None:
    bomb = opening * 100_000
    assert len(bomb) < MAX_BODY_BYTES
    error_of(http.post(CHAT, content=where % bomb), 400, "invalid_request")


def test_a_nesting_bomb_that_is_valid_json(http: httpx.Client) -> None:
    bomb = b"[" * 100_000 + b"]" * 100_000
    body = b'{"model":"kimi-k2","stream":true,%b,"x":%b}' % (MESSAGES, bomb)
    error = error_of(http.post(CHAT, content=body), 400, "invalid_request")
    assert "nested" in error["message"]


@pytest.mark.parametrize(
    ("path", "field"), [(CHAT, "model"), (CHAT, "messages"), (COMPLETIONS, "model"), (COMPLETIONS, "prompt")]
)
def test_a_missing_field_is_named(http: httpx.Client, path: str, field: str) -> None:
    body = chat() if path == CHAT else completion()
    del body[field]
    error = error_of(http.post(path, json=body), 400, "invalid_request")
    assert error["param"] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 5),
        ("model", None),
        ("model", ["kimi-k2"]),
        ("messages", "hello"),
        ("messages", {}),
        ("messages", []),
        ("messages", None),
        ("stream", "yes"),
        ("stream", 1),
        ("stream_options", True),
        ("stream_options", []),
        ("stream_options", {"include_usage": "yes"}),
        ("max_tokens", "12"),
        ("max_tokens", 1.5),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 2**31),
        ("max_tokens", 2**70),
        ("max_tokens", True),
        ("max_completion_tokens", 0),
        ("max_completion_tokens", "1"),
        ("temperature", "hot"),
        ("temperature", 9),
        ("temperature", -0.1),
        ("temperature", 1e400),
        ("top_p", -1),
        ("top_p", 1.01),
        ("n", 0),
        ("n", 1000),
        ("n", 1.5),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("user", 7),
        ("user", {"name": "x"}),
    ],
)
def test_a_field_of_a_wrong_type_or_out_of_bounds_is_named(http: httpx.Client, field: str, value: Any) -> None:
    text = json.dumps(chat(**{field: value})).replace("Infinity", "1e400")
    error = error_of(http.post(CHAT, content=text.encode()), 400, "invalid_request")
    assert error["param"].split(".")[0] == field
    assert field in error["message"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_answer_longer_than_the_context(http: httpx.Client, field: str) -> None:
    error = error_of(http.post(CHAT, json=chat(model="small", **{field: 5000})), 400, "invalid_request")
    assert "4096" in error["message"]


def test_a_prompt_longer_than_the_context_is_the_callers_fault(http: httpx.Client) -> None:
    error = error_of(
        http.post(CHAT, json=chat(model="small", messages=[{"role": "user", "content": "word " * 20_000}])),
        400,
        "invalid_request",
    )
    assert "4096" in error["message"]


@pytest.mark.parametrize(
    ("name", "near"), [("kimi-k3", "kimi-k2"), ("Kimi-K2", "kimi-k2"), ("kimi-lates", "kimi-latest")]
)
def test_an_unknown_model_is_answered_with_near_names(sdk: openai.OpenAI, name: str, near: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.chat.completions.create(**chat(model=name))
    error = error_of(httpx_response(caught.value), 404, "model_not_found")
    assert near in error["message"]
    assert error["param"] == "model"


@pytest.mark.parametrize(
    "name", ["", "x" * 100_000, "../../etc/passwd", "kimi\x00k2", "kimi-k2 ", "月", "{0.__class__}"]
)
def test_any_text_as_a_model_name(http: httpx.Client, name: str) -> None:
    error = error_of(http.post(CHAT, json=chat(model=name)), 404, "model_not_found")
    assert len(error["message"]) < 1000


def test_a_body_that_says_it_is_too_large_is_refused_unread(wire: Wire) -> None:
    wire.head(f"content-length: {MAX_BODY_BYTES + 1}")
    error_of(wire.answer(), 413, "body_too_large")


def test_a_body_that_says_it_is_of_absurd_length(wire: Wire) -> None:
    wire.head("content-length: 9223372036854775807")
    error_of(wire.answer(), 413, "body_too_large")


def test_a_chunked_body_that_grows_too_large_is_refused_before_its_end(wire: Wire) -> None:
    wire.head("transfer-encoding: chunked")
    piece = b"x" * 65_536
    for _ in range(MAX_BODY_BYTES // len(piece) + 1):
        wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    error_of(wire.answer(), 413, "body_too_large")


def test_a_large_upload_is_refused_and_the_connection_lives_on(http: httpx.Client) -> None:
    answer = http.post(CHAT, content=b"x" * (2 * MAX_BODY_BYTES))
    error_of(answer, 413, "body_too_large")
    assert http.get("/healthz").is_success


def test_a_body_that_does_not_come(wire: Wire) -> None:
    wire.head("content-length: 100")
    wire.send(b'{"model":')
    error_of(wire.answer(), 408, "request_timeout")


def httpx_response(error: openai.APIStatusError) -> httpx.Response:
    """The answer behind the SDK's exception."""
    return httpx.Response(error.status_code, headers=dict(error.response.headers), content=error.response.content)
