"""A replica whose calls fail though it looks well is left alone, tried again, and comes back; its pool is never emptied."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat, error_of
from tests.integration.configs import config, model, replica
from tests.integration.conftest import World, client_for
from tests.support.gateway_process import GatewayProcess, gateway_process, poll
from tests.support.scripted_engine.process import ScriptedEngine

KEY = generate_key()
QUICK = {
    "minimum_calls": 3, "open_seconds": 0.2, "longest_open_seconds": 0.2, "trial_calls": 1, "slow_start_seconds": 0.2
}  # fmt: skip
# For what must be seen while it is out.
LONG = {**QUICK, "open_seconds": 600, "longest_open_seconds": 600}


@pytest.fixture(scope="module")
def gateway(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose breakers open soon."""
    a, b = world.a, world.b
    settings = config(
        model("quick", replica("a-quick", a), replica("b-quick", b), breaker=QUICK),
        model("long", replica("a-long", a), replica("b-long", b), breaker=LONG),
        model("broken", replica("a-broken", a), replica("b-broken", b), breaker=LONG),
        model("alone", replica("a-alone", a), breaker=LONG),
        keys={"x": KEY},
    )
    with gateway_process(settings, tmp_path_factory.mktemp("gateway")) as running:
        running.wait_at_rest()
        yield running


@pytest.fixture
def a(world: World) -> ScriptedEngine:
    """The engine that is tried first, without a past."""
    world.a.reset()
    world.b.reset()
    return world.a


@pytest.fixture
def http(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    """A client of that gateway."""
    with client_for(gateway, KEY) as client:
        yield client


def fail(http: httpx.Client, model: str, times: int) -> None:
    """Calls that break on whoever serves them."""
    for _ in range(times):
        error_of(http.post(CHAT, json=chat(model=model, fault="error_500")), 502, "upstream_broken")


def test_it_is_ejected_and_comes_back(gateway: GatewayProcess, http: httpx.Client, a: ScriptedEngine) -> None:
    fail(http, "quick", 3)
    gateway.wait_log("replica ejected")
    poll(lambda: served_by(http, "quick") == "a-quick", "it is tried again, and serves")
    gateway.wait_metric("moegate_breaker_phase", 1, replica="a-quick", phase="closed")
    gateway.wait_metric("moegate_replica_usable_slots", 256, replica="a-quick")
    assert gateway.metric("moegate_breaker_opened_total", replica="a-quick") == 1
    lines = [line for line in gateway.log.splitlines() if "a-quick" in line]
    for event in ("replica ejected", "replica on trial", "replica recovers", "replica recovered"):
        assert len([line for line in lines if event in line]) == 1, event


def served_by(http: httpx.Client, model: str) -> str:
    """Who serves a call."""
    answer = http.post(CHAT, json=chat(model=model))
    assert (answer.status_code, answer.headers["x-moegate-attempts"]) == (200, "1")
    return answer.headers["x-moegate-replica"]


def test_while_it_is_out_the_other_serves_and_is_never_ejected_too(
    gateway: GatewayProcess, http: httpx.Client, a: ScriptedEngine
) -> None:
    fail(http, "long", 3)
    gateway.wait_metric("moegate_replica_state", 1, replica="a-long", state="ejected")
    assert gateway.metric("moegate_replica_usable_slots", replica="a-long") == 0
    seen = a.state()["seen"]
    assert {served_by(http, "long") for _ in range(5)} == {"b-long"}
    fail(http, "long", 10)
    gateway.wait_log("replica not ejected, too few would be left")
    assert served_by(http, "long") == "b-long"
    assert a.state()["seen"] == seen
    assert "long" not in http.get("/readyz").json()["models"]


def test_streams_that_break_off_eject_it_too(gateway: GatewayProcess, http: httpx.Client, a: ScriptedEngine) -> None:
    for _ in range(3):
        http.post(CHAT, json=chat(model="broken", fault="midstream_cut,after=2", stream=True))
    gateway.wait_metric("moegate_replica_state", 1, replica="a-broken", state="ejected")


@pytest.mark.parametrize("fault", ["midstream_cut", "no_done", "closes", "garbage"])
def test_a_single_replica_is_never_ejected(http: httpx.Client, a: ScriptedEngine, fault: str) -> None:
    for _ in range(5):
        http.post(CHAT, json=chat(model="alone", fault=fault, stream=True))
        poll(lambda: "alone" not in http.get("/readyz").json()["models"], "it is ready")
    assert served_by(http, "alone") == "a-alone"
