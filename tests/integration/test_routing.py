"""Where calls go, through a gateway with the routing that it has where nobody says anything, and by a caller's own pin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from tests.integration.asking import CHAT, PROMPT, Json, error_of
from tests.integration.configs import model, replica
from tests.integration.conftest import assert_quiet_log, client_for
from tests.support.gateway_process import FORGETFUL, GatewayProcess, gateway_process, moegate, poll, write_config
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

TENANTS = """\
tenants:
  - name: ops
    keys:
      - {name: ordinary}
      - {name: operator, scopes: [inference, pin]}
"""
LONG = f"{PROMPT} " * 200


@dataclass(frozen=True)
class Keys:
    """One key that may pin a call, and one that may not."""

    database: str
    ordinary: str
    operator: str


@pytest.fixture(scope="module")
def engines() -> Iterator[list[ScriptedEngine]]:
    """Three that count prompts by their words, and two that do what a test tells them to."""
    with ExitStack() as stack:
        metered = [stack.enter_context(scripted_engine("--metered", name=name)) for name in "abc"]
        yield metered + [stack.enter_context(scripted_engine(name=name)) for name in "de"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Made by the command, for a key of a file has no more than the ordinary scope."""
    folder = tmp_path_factory.mktemp("keys")
    database = f"sqlite:///{folder / 'moegate.db'}"
    unused = {"name": "unused", "backend": "vllm", "url": "http://127.0.0.1:1"}
    write_config(
        folder / "moegate.yaml",
        {"database": database, "models": [model("unused", unused)], "plugins": [{"use": "tenants"}]},
        1,
    )
    (folder / "tenants.yaml").write_text(TENANTS)
    moegate("db", "upgrade", folder=folder)
    applied = moegate("tenants", "apply", "-f", "tenants.yaml", folder=folder)
    assert applied.returncode == 0, applied.stderr
    ordinary, operator = re.findall(r"mg-\S+", applied.stdout)
    return Keys(database, ordinary, operator)


@pytest.fixture(scope="module")
def gateway(
    engines: list[ScriptedEngine], keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    a, b, c, d, e = engines
    settings: Json = {
        "database": keys.database,
        "models": [
            model("kimi-k2", replica("a", a), replica("b", b), replica("short", c, context_length=512), **FORGETFUL),
            model("pair", replica("a3", a), replica("b3", b), **FORGETFUL),
            model("another-pair", replica("d", d), replica("e", e), **FORGETFUL),
            model("turns", replica("a2", a), replica("b2", b), routing=[{"use": "round_robin"}], **FORGETFUL),
        ],
        "plugins": [{"use": "tenants"}, {"use": "prometheus"}],
    }
    with gateway_process(settings, tmp_path_factory.mktemp("gateway")) as running:
        yield running
    assert_quiet_log(running.log, keys.ordinary, keys.operator)


@pytest.fixture
def http(gateway: GatewayProcess, engines: list[ScriptedEngine], keys: Keys) -> Iterator[httpx.Client]:
    """Nothing runs, and the engines have no past."""
    for engine in engines:
        engine.reset()
    gateway.wait_at_rest()
    with client_for(gateway, keys.ordinary) as client:
        poll(lambda: client.get("/v1/models").is_success, "the gateway has read the keys")
        yield client


@pytest.fixture
def operator(gateway: GatewayProcess, http: httpx.Client, keys: Keys) -> Iterator[httpx.Client]:
    """A client whose key may pin."""
    with client_for(gateway, keys.operator) as client:
        yield client


def talk(*said: str, name: str = "kimi-k2", **fields: object) -> Json:
    """Turns of a conversation, the user's and the model's."""
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
    return {"model": name, "messages": messages, "max_tokens": 4, "stream": True, **fields}


def ask(http: httpx.Client, body: Json, **headers: str) -> str:
    """Who answered."""
    answer = http.post(CHAT, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-moegate-replica"]


def test_a_conversation_goes_on_where_its_beginning_was_read(http: httpx.Client) -> None:
    """By turns, or by load alone with ties in turn, it would go to the other replica."""
    begun = talk(f"begun {LONG}", name="pair")
    first = ask(http, begun)
    assert ask(http, talk(f"begun {LONG}", "Well.", "And?", name="pair")) == first


def test_conversations_at_the_same_time_are_spread(http: httpx.Client, engines: list[ScriptedEngine]) -> None:
    for engine in engines[3:]:
        engine.all_calls("first_byte_stall")
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(ask, http, talk(f"spread {at} {LONG}", name="another-pair")) for at in range(8)]
        try:
            for engine in engines[3:]:
                engine.wait(waiting=4)
        finally:
            for engine in engines[3:]:
                engine.all_calls("")
                engine.release()
        assert Counter(each.result() for each in waiting) == {"d": 4, "e": 4}


def test_what_is_too_long_for_a_replica_does_not_go_there(http: httpx.Client, engines: list[ScriptedEngine]) -> None:
    for number in range(6):
        assert ask(http, talk(f"long {number} {LONG}", max_tokens=600)) in ("a", "b")
    assert engines[2].state()["seen"] == 0


def test_a_model_s_own_list_is_used_for_it_alone(http: httpx.Client) -> None:
    places = [ask(http, talk(LONG, name="turns")) for _ in range(4)]
    assert places[0] != places[1]
    assert places[:2] == places[2:]


@pytest.mark.parametrize("pin", ["replica=b", "replica=short"])
def test_an_operator_s_call_goes_where_it_is_pinned(operator: httpx.Client, pin: str) -> None:
    for number in range(3):
        assert ask(operator, talk(f"pinned {number}"), **{"x-moegate-pin": pin}) == pin.removeprefix("replica=")


def test_a_pin_needs_its_scope(http: httpx.Client) -> None:
    answer = http.post(CHAT, json=talk("hello"), headers={"x-moegate-pin": "replica=b"})
    assert "scope pin" in error_of(answer, 403, "rejected")["message"]


@pytest.mark.parametrize("pin", ["b", "replica=nobody", "backend=vllm"])
def test_a_pin_must_be_readable_and_name_something(operator: httpx.Client, pin: str) -> None:
    answer = operator.post(CHAT, json=talk("hello"), headers={"x-moegate-pin": pin})
    assert "x-moegate-pin" in error_of(answer, 400, "invalid_request")["message"]


def test_a_pinned_call_that_fails_is_not_tried_elsewhere(operator: httpx.Client, engines: list[ScriptedEngine]) -> None:
    engines[4].next_calls("queue_full_503")
    answer = operator.post(CHAT, json=talk("hello", name="another-pair"), headers={"x-moegate-pin": "replica=e"})
    error_of(answer, 503, "upstream_overloaded")
    assert answer.headers["x-moegate-attempts"] == "1"
    assert engines[3].state()["seen"] == 0
