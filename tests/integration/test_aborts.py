"""An engine that does not notice a closed connection is told to stop, whoever gave the call up."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat, error_of
from tests.integration.configs import config, model, replica
from tests.integration.conftest import SHORT, client_for
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KEY = generate_key()
STREAM = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def deaf() -> Iterator[ScriptedEngine]:
    """An engine that goes on when its client has left, until it is told by the request's id."""
    with scripted_engine("--dialect", "ktransformers", name="deaf") as engine:
        yield engine


@pytest.fixture
def engine(deaf: ScriptedEngine) -> ScriptedEngine:
    """The same, without a past."""
    deaf.reset()
    return deaf


@pytest.fixture(scope="module")
def its_gateway(deaf: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway before it."""
    settings = config(
        model("kimi-k2", replica("deaf", deaf, backend="ktransformers")),
        model("hasty", replica("deaf-hasty", deaf, backend="ktransformers"), timeouts=SHORT),
        keys={"demo": KEY},
    )
    with gateway_process(settings, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@STREAM
def test_when_the_client_leaves_before_the_first_byte(
    its_gateway: GatewayProcess, engine: ScriptedEngine, *, stream: bool
) -> None:
    with Wire(its_gateway.port, KEY) as wire:
        wire.ask(chat(fault="first_byte_stall", stream=stream))
        engine.wait(running=1, waiting=1)
    engine.wait(running=0, abort_requests=1)
    its_gateway.wait_at_rest()


def test_when_the_client_leaves_in_the_middle(its_gateway: GatewayProcess, engine: ScriptedEngine) -> None:
    with Wire(its_gateway.port, KEY) as wire:
        wire.ask(chat(fault="slow,after=2", stream=True))
        wire.read_to(b"content")
        engine.wait(running=1, waiting=1)
    engine.wait(running=0, abort_requests=1)


@STREAM
def test_when_the_engine_is_too_slow(its_gateway: GatewayProcess, engine: ScriptedEngine, *, stream: bool) -> None:
    with client_for(its_gateway, KEY) as http:
        answer = http.post(CHAT, json=chat(model="hasty", fault="first_byte_stall", stream=stream))
    error_of(answer, 504, "upstream_timeout")
    engine.wait(running=0, abort_requests=1)


@STREAM
def test_never_when_the_engine_has_ended_it_itself(
    its_gateway: GatewayProcess, engine: ScriptedEngine, *, stream: bool
) -> None:
    with client_for(its_gateway, KEY) as http:
        assert http.post(CHAT, json=chat(stream=stream)).is_success
        assert http.post(CHAT, json=chat(stream=stream, fault="queue_full_503")).status_code == 503
        assert http.post(CHAT, json=chat(stream=stream, fault="error_400")).status_code == 400
        last(http, engine)
    assert engine.state()["abort_requests"] == 0


def last(http: httpx.Client, engine: ScriptedEngine) -> None:
    """One call more, so that all that was to be sent before it has been."""
    assert http.post(CHAT, json=chat()).is_success
    engine.wait(running=0)


def test_when_the_gateway_stops(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = config(
        model("kimi-k2", replica("deaf", engine, backend="ktransformers")),
        keys={"demo": KEY},
        server={"grace_seconds": 1},
    )
    with gateway_process(settings, tmp_path_factory.mktemp("stopping")) as gateway, Wire(gateway.port, KEY) as wire:
        wire.ask(chat(fault="slow,after=2", stream=True))
        wire.read_to(b"content")
        engine.wait(running=1, waiting=1)
        assert gateway.stop() == 0
        engine.wait(running=0, abort_requests=1)
