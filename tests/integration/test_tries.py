"""How often engines are asked for one call: within a budget, not before they want to be, and twice at once where that is wanted."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, DONE, chat, error_of, payloads
from tests.integration.configs import config, model, replica
from tests.integration.conftest import World, client_for
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KEY = generate_key()


@pytest.fixture(scope="module")
def polite() -> Iterator[ScriptedEngine]:
    """An engine that says in how many seconds it is to be asked again: one."""
    with scripted_engine("--dialect", "torch_reference", name="polite") as engine:
        yield engine


@pytest.fixture(scope="module")
def gateway(world: World, polite: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a model for each way to try."""
    a, b = world.a, world.b
    settings = config(
        model("patient", replica("polite", polite)),
        model("hasty", replica("a-hasty", a), retries={"longest_pause_seconds": 0, "longest_hold_seconds": 0}),
        model("poor", replica("a-poor", a), replica("b-poor", b), retries={"budget_share": 0, "minimum_calls": 1}),
        model("held", replica("a-held", a), replica("b-held", b)),
        model(
            "hedged",
            replica("a-hedged", a),
            replica("b-hedged", b),
            hedge={"enabled": True, "floor_seconds": 0.05, "minimum_calls": 100},
        ),
        keys={"x": KEY},
    )
    settings["policies"]["routing"] = []
    with gateway_process(settings, tmp_path_factory.mktemp("gateway")) as running:
        running.wait_at_rest()
        yield running


@pytest.fixture
def a(world: World) -> ScriptedEngine:
    """The engine that is tried first; both are without a past."""
    world.a.reset()
    world.b.reset()
    return world.a


@pytest.fixture
def http(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    """A client of that gateway."""
    with client_for(gateway, KEY) as client:
        yield client


def test_a_busy_engine_that_says_when_it_is_asked_again_then(http: httpx.Client, polite: ScriptedEngine) -> None:
    polite.next_calls("queue_full_503", "")
    answer = http.post(CHAT, json=chat(model="patient"))
    assert (answer.status_code, answer.headers["x-moegate-attempts"]) == (200, "2")
    assert answer.elapsed.total_seconds() >= 1  # it had said so
    assert polite.state()["seen"] == 2


def test_if_nobody_is_to_wait_the_client_is_told_to(http: httpx.Client, a: ScriptedEngine) -> None:
    a.next_calls("error_429")
    answer = http.post(CHAT, json=chat(model="hasty"))
    error_of(answer, 503, "upstream_overloaded")
    assert (answer.headers["retry-after"], answer.headers["x-moegate-attempts"]) == ("7", "1")


def test_a_budget_that_is_used_up_ends_the_tries(
    gateway: GatewayProcess, http: httpx.Client, a: ScriptedEngine
) -> None:
    first, second = (http.post(CHAT, json=chat(model="poor", fault="closes,only=a")) for _ in range(2))
    assert first.headers["x-moegate-replica"] == "b-poor"
    # Either it is known by now that a cannot be reached, or a is asked and there is no second try.
    assert second.headers["x-moegate-attempts"] == "1"
    assert gateway.metric("moegate_retries_total", model="poor") == 1


def test_an_engine_is_not_asked_again_before_it_wants_to_be(
    gateway: GatewayProcess, http: httpx.Client, a: ScriptedEngine
) -> None:
    answers = [http.post(CHAT, json=chat(model="held", fault="error_429,only=a")) for _ in range(4)]
    assert {answer.headers["x-moegate-replica"] for answer in answers} == {"b-held"}
    assert a.state()["seen"] == 1
    assert gateway.metric("moegate_replica_usable_slots", replica="a-held") == 0


def test_a_late_stream_is_asked_for_twice_and_the_late_one_is_aborted(
    gateway: GatewayProcess, http: httpx.Client, a: ScriptedEngine
) -> None:
    for _ in range(20):  # until it is known what late is
        http.post(CHAT, json=chat(model="hedged", stream=True))
    tokens = gateway.metric("moegate_tokens_total", model="hedged", replica="a-hedged")
    answer = http.post(CHAT, json=chat(model="hedged", fault="hang_after_headers,only=a", stream=True))
    assert payloads(answer.content)[-1] == DONE
    assert (answer.headers["x-moegate-replica"], answer.headers["x-moegate-attempts"]) == ("b-hedged", "2")
    a.wait(running=0, aborted=1)
    gateway.wait_metric("moegate_hedges_total", 1, model="hedged", what="won")
    gateway.wait_metric("moegate_attempts_total", 1, replica="a-hedged", error="hedge_lost")
    gateway.wait_metric("moegate_replica_in_flight", 0, replica="a-hedged")
    assert gateway.metric("moegate_tokens_total", model="hedged", replica="a-hedged") == tokens
