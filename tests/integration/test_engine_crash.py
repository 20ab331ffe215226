"""An engine that is killed outright: idle, before its first byte, and in the middle of a stream."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat
from tests.integration.configs import config, model, replica
from tests.integration.conftest import assert_quiet_log
from tests.integration.test_midstream import error_event
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine, start

KEY = generate_key()


@pytest.fixture(scope="module")
def survivor() -> Iterator[ScriptedEngine]:
    """The engine that stays."""
    with scripted_engine(name="survivor") as engine:
        yield engine


@pytest.fixture(scope="module")
def engines(survivor: ScriptedEngine) -> Iterator[list[ScriptedEngine]]:
    """The engines that are there now: the last one is the victim of the next test."""
    engines = [start(name="victim")]
    yield engines
    for engine in engines:
        engine.stop()


@pytest.fixture(scope="module")
def gateway(
    engines: list[ScriptedEngine], survivor: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway that tries the victim first."""
    settings = config(model("kimi-k2", replica("victim", engines[0]), replica("survivor", survivor)), keys={"x": KEY})
    with gateway_process(settings, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway
    assert_quiet_log(gateway.log, KEY)


@pytest.fixture
def victim(engines: list[ScriptedEngine], gateway: GatewayProcess, survivor: ScriptedEngine) -> ScriptedEngine:
    """A victim that lives, on the same port as the one before, and that the gateway has found ready."""
    if engines[-1].process.poll() is not None:
        engines.append(start("--port", str(engines[0].port), name="victim"))
    gateway.wait_at_rest()
    survivor.reset()
    return engines[-1]


def test_killed_while_idle(gateway: GatewayProcess, victim: ScriptedEngine) -> None:
    headers = {"x-api-key": KEY}
    assert gateway.http.post(CHAT, json=chat(), headers=headers).headers["x-moegate-replica"] == "victim"
    victim.kill()
    answer = gateway.http.post(CHAT, json=chat(), headers=headers)
    assert answer.status_code == 200
    assert answer.headers["x-moegate-replica"] == "survivor"


@pytest.mark.parametrize("stream", [False, True])
def test_killed_before_the_first_byte(
    gateway: GatewayProcess, victim: ScriptedEngine, survivor: ScriptedEngine, *, stream: bool
) -> None:
    with Wire(gateway.port, KEY) as wire:
        wire.ask(chat(fault="first_byte_stall,only=victim", stream=stream))
        victim.wait(waiting=1)
        victim.kill()
        answer = wire.answer()
    assert answer.status_code == 200
    assert answer.headers["x-moegate-replica"] == "survivor"
    assert answer.headers["x-moegate-attempts"] == "2"
    assert survivor.state()["seen"] == 1


def test_killed_in_the_middle_of_a_stream(
    gateway: GatewayProcess, victim: ScriptedEngine, survivor: ScriptedEngine
) -> None:
    with httpx.Client(base_url=gateway.url, headers={"x-api-key": KEY}, trust_env=False, verify=False) as http:
        body = chat(fault="slow,after=2,only=victim", stream=True)
        with http.stream("POST", CHAT, json=body) as answer:
            victim.wait(waiting=1)
            victim.kill()
            assert error_event(answer.read())["code"] == "upstream_broken"
        assert survivor.state()["seen"] == 0
        assert http.post(CHAT, json=chat()).headers["x-moegate-replica"] == "survivor"


def test_it_serves_again_when_it_is_back(gateway: GatewayProcess, victim: ScriptedEngine) -> None:
    answer = gateway.http.post(CHAT, json=chat(), headers={"x-api-key": KEY})
    assert answer.headers["x-moegate-replica"] == "victim"
