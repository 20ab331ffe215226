"""A stream that stalls, or takes longer in all than it may, ends with an error event; each replica has its own limits."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, DONE, chat, error_of, payloads
from tests.integration.configs import config, model, replica
from tests.integration.conftest import World, client_for
from tests.integration.test_midstream import error_event
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.scripted_engine.process import ScriptedEngine

KEY = generate_key()
HALF = 0.5


@pytest.fixture(scope="module")
def gateway(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A model whose answers may take half a second in all, and one with a patient and an impatient replica."""
    a, b = world.a, world.b
    settings = config(
        model("brief", replica("a-brief", a), timeouts={"total_seconds": HALF}),
        model(
            "unequal",
            replica("a-unequal", a, timeouts={"first_byte_seconds": HALF, "idle_seconds": HALF}),
            replica("b-unequal", b),
        ),
        keys={"x": KEY},
    )
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


def test_a_stream_that_never_pauses_ends_with_an_error(http: httpx.Client, a: ScriptedEngine) -> None:
    answer = http.post(CHAT, json=chat(model="brief", fault="endless,pause_ms=20", stream=True))
    assert answer.status_code == 200
    assert error_event(answer.content)["code"] == "upstream_timeout"
    assert len(payloads(answer.content)) > 2
    a.wait(running=0, aborted=1)


@pytest.mark.parametrize("fault", ["first_byte_stall", "hang_after_headers"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_has_not_begun_is_a_status(
    http: httpx.Client, a: ScriptedEngine, fault: str, *, stream: bool
) -> None:
    error_of(http.post(CHAT, json=chat(model="brief", fault=fault, stream=stream)), 504, "upstream_timeout")
    a.wait(running=0, aborted=1)


def test_what_is_done_in_time_is_whole(http: httpx.Client, a: ScriptedEngine) -> None:
    answer = http.post(CHAT, json=chat(model="brief", stream=True))
    assert payloads(answer.content)[-1] == DONE


def test_a_stream_that_stalls_on_an_impatient_replica(http: httpx.Client, a: ScriptedEngine) -> None:
    answer = http.post(CHAT, json=chat(model="unequal", fault="slow,after=2", stream=True))
    assert answer.headers["x-moegate-replica"] == "a-unequal"
    assert error_event(answer.content)["code"] == "upstream_timeout"


@pytest.mark.parametrize("stream", [False, True])
def test_an_impatient_replica_is_given_up_for_a_patient_one(
    http: httpx.Client, a: ScriptedEngine, *, stream: bool
) -> None:
    answer = http.post(CHAT, json=chat(model="unequal", fault="first_byte_stall,only=a", stream=stream))
    assert (answer.headers["x-moegate-replica"], answer.headers["x-moegate-attempts"]) == ("b-unequal", "2")
    a.wait(running=0, aborted=1)
