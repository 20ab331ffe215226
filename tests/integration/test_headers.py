"""Every response says which call it was, inference says who served it, and errors say which they are."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.asking import CHAT, COMPLETIONS, chat, completion, error_of
from tests.support.scripted_engine.process import ScriptedEngine

LABELS = {"x-moegate-backend": "openai_compatible", "x-moegate-replica": "a", "x-moegate-attempts": "1"}


def labels(answer: httpx.Response) -> dict[str, str]:
    """Who served, by the headers."""
    return {name: answer.headers[name] for name in LABELS}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), [(CHAT, chat()), (COMPLETIONS, completion())])
def test_inference_says_who_served(http: httpx.Client, path: str, body: dict[str, object], *, stream: bool) -> None:
    answer = http.post(path, json={**body, "stream": stream})
    assert labels(answer) == LABELS
    assert "x-moegate-error" not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
def test_a_second_attempt_is_told(http: httpx.Client, b: ScriptedEngine, *, stream: bool) -> None:
    answer = http.post(CHAT, json=chat(fault="queue_full_503,only=a", stream=stream))
    assert labels(answer) == {
        "x-moegate-backend": "openai_compatible",
        "x-moegate-replica": "b",
        "x-moegate-attempts": "2",
    }
    assert dict(b.state()["last"]["headers"])["x-request-id"] == answer.headers["x-moegate-call-id"] + "-2"


def test_a_failed_call_says_who_failed(http: httpx.Client) -> None:
    answer = http.post(CHAT, json=chat(fault="queue_full_503"))
    error_of(answer, 503, "upstream_overloaded")
    assert labels(answer) == {
        "x-moegate-backend": "openai_compatible",
        "x-moegate-replica": "b",
        "x-moegate-attempts": "2",
    }


def test_a_call_that_was_never_placed_names_no_replica(http: httpx.Client) -> None:
    answer = http.post(CHAT, json=chat(model="small", max_tokens=5000))
    error_of(answer, 400, "invalid_request")
    assert answer.headers["x-moegate-attempts"] == "0"
    assert "x-moegate-replica" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/kimi-k2", 200),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/models", 405),
        ("POST", CHAT, 400),
        ("POST", CHAT + "/", 400),
        ("POST", COMPLETIONS, 400),
        ("POST", "//v1/chat/completions", 404),
    ],
)
def test_every_response_has_one_call_id(http: httpx.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert len(answer.headers.get_list("x-moegate-call-id")) == 1
    assert len(answer.headers["x-moegate-call-id"]) == 32
    assert ("x-moegate-error" in answer.headers) is (status >= 400)


def test_call_ids_are_unique_and_sort_by_time(http: httpx.Client) -> None:
    ids = [http.get("/healthz").headers["x-moegate-call-id"] for _ in range(20)]
    assert len(set(ids)) == 20
    assert [call_id[:12] for call_id in ids] == sorted(call_id[:12] for call_id in ids)


def test_a_client_cannot_choose_its_call_id(http: httpx.Client) -> None:
    answer = http.post(CHAT, json=chat(), headers={"x-moegate-call-id": "chosen", "x-moegate-replica": "chosen"})
    assert answer.headers["x-moegate-call-id"] != "chosen"
    assert labels(answer) == LABELS


def test_a_refused_key_is_told_the_scheme(http: httpx.Client) -> None:
    answer = http.post(CHAT, json=chat(), headers={"authorization": "Bearer nobody"})
    error_of(answer, 401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
