"""No header of a client's reaches an engine: they steer queues, ranks, sessions and ids, and some win over the body."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.asking import CHAT, COMPLETIONS, PROMPT, chat, completion
from tests.integration.conftest import ENGINE_KEY
from tests.support.scripted_engine.process import ScriptedEngine

# vLLM's, SGLang's, and those by which proxies and tracing tell who asked and what for.
STEERING = {
    "X-Request-Id": "mine",
    "X-Vllm-Priority": "-1000000",
    "X-data-parallel-rank": "3",
    "X-Session-ID": "somebody-else",
    "X-Correlation-ID": "mine",
    "x-override-rid": "mine",
    "x-override-priority": "9",
    "x-override-routed-dp-rank": "3",
    "x-override-bootstrap-host": "elsewhere",
    "x-override-conversation-id": "somebody-else",
    "x-custom-labels": '{"tenant":"somebody-else"}',
    "x-smg-routing-key": "mine",
    "x-moegate-call-id": "mine",
    "cookie": "session=mine",
    "forwarded": "for=192.0.2.1",
    "x-forwarded-for": "192.0.2.1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "accept-encoding": "gzip",
    "user-agent": "mine",
    "openai-organization": "mine",
}
BODIES = {
    CHAT: chat(),
    COMPLETIONS: completion(),
    "/v1/messages": {"model": "kimi-k2", "max_tokens": 5, "messages": [{"role": "user", "content": PROMPT}]},
    "/v1/messages/count_tokens": {"model": "kimi-k2", "messages": [{"role": "user", "content": PROMPT}]},
    "/v1/responses": {"model": "kimi-k2", "input": PROMPT},
    "/tokenize": {"model": "kimi-k2", "prompt": PROMPT},
}
# What every request to an engine has; anything beyond this has come from somewhere that it must not come from.
OURS = {"host", "content-type", "content-length", "accept-encoding", "x-request-id"}
ALLOWED = {"/v1/messages": {"anthropic-version", "anthropic-beta"}}
ALLOWED["/v1/messages/count_tokens"] = ALLOWED["/v1/messages"]


def seen(call: dict[str, object]) -> dict[str, str]:
    """The headers that an engine saw, names in lower case."""
    headers = call["headers"]
    assert isinstance(headers, list)
    found = {name.lower(): value for name, value in headers}
    assert len(found) == len(headers), "a header came twice"
    return found


@pytest.mark.parametrize("path", BODIES)
def test_no_header_of_a_client_reaches_an_engine(http: httpx.Client, a: ScriptedEngine, path: str) -> None:
    headers = {**STEERING, "anthropic-version": "2023-06-01", "anthropic-beta": "context-1m"}
    answer = http.post(path, json=BODIES[path], headers=headers)
    assert answer.status_code == 200, answer.text
    (call,) = a.calls()
    reached = seen(call)
    assert set(reached) <= OURS | ALLOWED.get(path, set())
    assert not set(STEERING.values()) & set(reached.values())
    assert reached["accept-encoding"] == "identity"


def test_the_client_s_key_stays_here_and_the_engine_gets_its_own(
    http: httpx.Client, a: ScriptedEngine, key: str
) -> None:
    for model in ("kimi-k2", "solo"):
        assert http.post(CHAT, json=chat(model=model), headers={"x-api-key": key, "api-key": key}).is_success
    without, with_its_own = (seen(call) for call in a.calls())
    assert "authorization" not in without
    assert with_its_own["authorization"] == f"Bearer {ENGINE_KEY}"
    for reached in (without, with_its_own):
        assert key not in str(reached)


def test_every_attempt_has_an_id_of_its_own(http: httpx.Client, a: ScriptedEngine, b: ScriptedEngine) -> None:
    """Engines refuse or mix up two requests with one id, and a client that repeats a call cannot know of the first."""
    for _ in range(3):
        assert http.post(CHAT, json=chat(fault="queue_full_503,only=a"), headers={"X-Request-Id": "same"}).is_success
    ids = [seen(call)["x-request-id"] for engine in (a, b) for call in engine.calls()]
    assert len(set(ids)) == len(ids) == 6
    assert "same" not in ids
