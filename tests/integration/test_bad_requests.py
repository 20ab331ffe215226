"""A request to the wrong place, in the wrong way or without a good key is refused at once, and no engine hears of it."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from gateway.contracts.keys import generate_key, parse_key
from tests.integration.asking import CHAT, COMPLETIONS, chat, completion, error_of
from tests.integration.conftest import World
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess
from tests.support.scripted_engine.process import ScriptedEngine

FORMS = ["authorization", "x-api-key", "api-key"]


@pytest.fixture
def engines_unseen(world: World, gateway: GatewayProcess) -> Any:
    """The test reaches no engine."""
    yield
    assert (world.a.state()["seen"], world.b.state()["seen"]) == (0, 0)


def credentials(form: str, key: str) -> dict[str, str]:
    """A key in one of the headers that may carry it."""
    return {form: f"Bearer {key}".strip() if form == "authorization" else key}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("GET", "/v1/models")])
def test_a_good_key_opens_in_each_form(gateway: GatewayProcess, key: str, form: str, method: str, path: str) -> None:
    answer = gateway.http.request(method, path, headers=credentials(form, key), json=chat())
    assert answer.status_code == 200


def test_the_scheme_may_be_written_in_any_case(gateway: GatewayProcess, key: str) -> None:
    assert gateway.http.get("/v1/models", headers={"authorization": f"BEARER  {key}"}).is_success


def wrong_keys(key: str) -> dict[str, str]:
    """Keys that are wrong in one way each."""
    parts = parse_key(key)
    assert parts is not None
    return {
        "empty": "",
        "word": "secret",
        "another-vendor": "sk-proj-" + "a" * 40,
        "unknown-public-id": generate_key(),
        "public-id-alone": f"mg-{parts.public_id}-",
        "secret-alone": parts.secret,
        "wrong-secret": f"mg-{parts.public_id}-{'A' * len(parts.secret)}",
        "cut": key[:-1],
        "longer": key + "A",
        "upper-case": key.upper(),
        "very-long": "mg-" + "a" * 16_000,
        "latin-1": key[:-1] + "é",
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrong", list(wrong_keys(generate_key())))
@pytest.mark.usefixtures("engines_unseen")
def test_a_wrong_key_is_refused_in_each_form(gateway: GatewayProcess, key: str, form: str, wrong: str) -> None:
    headers = {name: value.encode("latin-1") for name, value in credentials(form, wrong_keys(key)[wrong]).items()}
    error = error_of(gateway.http.post(CHAT, headers=headers, json=chat()), 401, "invalid_api_key")
    assert error["type"] == "authentication_error"
    error_of(gateway.http.get("/v1/models", headers=headers), 401, "invalid_api_key")


@pytest.mark.parametrize("value", [b"\xff\xfe\x80", b"Bearer \xe6\x9c\x88\xf0\x9f\x9a\x80", b"Bearer mg-abcd-\x80\x81"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("engines_unseen")
def test_a_key_of_bytes_that_are_no_text(gateway: GatewayProcess, form: str, value: bytes) -> None:
    error_of(gateway.http.post(CHAT, headers={form.encode(): value}, json=chat()), 401, "invalid_api_key")


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/v1/models", "/v1/models/kimi-k2"])
@pytest.mark.usefixtures("engines_unseen")
def test_no_key_at_all(gateway: GatewayProcess, path: str) -> None:
    method = "GET" if "models" in path else "POST"
    error_of(gateway.http.request(method, path), 401, "invalid_api_key")
    error_of(gateway.http.request(method, path, headers={"authorization": "Basic eDp5"}), 401, "invalid_api_key")


def test_a_stranger_is_refused_before_the_body_is_read(wire: Wire) -> None:
    wire.key = "mg-stranger-" + "a" * 43
    wire.head("content-length: 1000")
    error_of(wire.answer(), 401, "invalid_api_key")


def test_unknown_and_wrong_keys_look_alike(gateway: GatewayProcess, key: str) -> None:
    wrong = wrong_keys(key)
    answers = [
        gateway.http.post(CHAT, headers=credentials("x-api-key", wrong[which])).json()
        for which in ("unknown-public-id", "wrong-secret")
    ]
    assert answers[0] == answers[1]


def test_the_sdk_without_a_good_key(gateway: GatewayProcess, key: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key[:-1] + "_", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(**chat())
        with pytest.raises(openai.AuthenticationError):
            stranger.completions.create(**completion(stream=True))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.usefixtures("engines_unseen")
def test_another_method_than_post(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path, json=chat())
    error_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", [CHAT, "/healthz", "/nowhere"])
@pytest.mark.usefixtures("engines_unseen")
def test_head(http: httpx.Client, path: str) -> None:
    answer = http.head(path)
    assert 400 <= answer.status_code < 500
    assert answer.content == b""
    assert len(answer.headers["x-moegate-call-id"]) == 32


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/chat",
        "/v2/chat/completions",
        "/v1/embeddings",
        "/v1/chat/completions/x",
        "/%00",
        "/%ff",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.usefixtures("engines_unseen")
def test_a_route_that_is_not_here(http: httpx.Client, method: str, path: str) -> None:
    error_of(http.request(method, path), 404, "not_found")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/models"])
def test_posting_to_a_page(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={})
    error_of(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


def test_a_name_given_twice_means_the_last_one_to_everybody(http: httpx.Client, a: ScriptedEngine) -> None:
    """So that nobody is admitted for one model and served another."""
    twice = b'{"model":"nobody","messages":[],"model":"kimi-latest","messages":[{"role":"user","content":"x"}]}'
    assert http.post(CHAT, content=twice).is_success
    assert a.last_json() == {"model": "kimi-k2", "messages": [{"role": "user", "content": "x"}]}
    error_of(http.post(CHAT, content=b'{"model":"kimi-k2","messages":[{}],"model":"nobody"}'), 404, "model_not_found")
