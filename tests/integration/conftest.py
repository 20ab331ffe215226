"""One gateway with two engines for all tests that break nothing; tests that do start their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai
import pytest

from gateway.contracts.keys import generate_key, parse_key
from tests.integration.asking import PROMPT
from tests.integration.configs import config, model, replica
from tests.integration.wire import Wire
from tests.support.gateway_process import FORGETFUL, GatewayProcess, gateway_process
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

SHORT = {"connect_seconds": 1.0, "first_byte_seconds": 0.5, "idle_seconds": 0.5}
ENGINE_KEY = "the engine's own key"
MAX_BODY_BYTES = 1_048_576


@dataclass(frozen=True)
class World:
    """The processes that the tests share."""

    gateway: GatewayProcess
    a: ScriptedEngine
    b: ScriptedEngine
    key: str


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Engines a and b, and a gateway that tries them in this order; its models differ in how they are served."""
    key = generate_key()
    with scripted_engine(name="a") as a, scripted_engine(name="b") as b:
        settings = config(
            model(
                "kimi-k2",
                replica("a", a),
                replica("b", b),
                aliases=["kimi-latest", "moonshotai/Kimi-K2-Instruct"],
                **FORGETFUL,
            ),
            model("solo", replica("a-solo", a, api_key=ENGINE_KEY), **FORGETFUL),
            model("hasty", replica("a-hasty", a), timeouts=SHORT, **FORGETFUL),
            model("hasty-pair", replica("a-hasty-pair", a), replica("b-hasty-pair", b), timeouts=SHORT, **FORGETFUL),
            model("misnamed", replica("a-misnamed", a, served_model="kimi-k3"), **FORGETFUL),
            model("roomy", replica("a-roomy", a), context_length=1_000_000),
            model("small", replica("a-small", a), context_length=4096),
            keys={"demo": key},
            server={"max_body_bytes": MAX_BODY_BYTES, "body_seconds": 1},
        )
        with gateway_process(settings, tmp_path_factory.mktemp("gateway")) as gateway:
            yield World(gateway, a, b, key)
        assert_quiet_log(gateway.log, key)
        assert ENGINE_KEY not in gateway.log


def assert_quiet_log(log: str, *keys: str) -> None:
    """A log holds no crash, no prompt and no secret, whatever the tests did."""
    secrets = [parts.secret for key in keys if (parts := parse_key(key))]
    for forbidden in (PROMPT, "Traceback", "crashed", "never retrieved", *secrets):
        assert forbidden not in log, log[max(0, log.find(forbidden) - 500) :][:3000]


@pytest.fixture
def gateway(world: World) -> GatewayProcess:
    """The shared gateway with all of its replicas ready, and its engines without a past."""
    if not world.gateway.at_rest():
        # What a failed test left at a gate goes on; a replica that a test took away is found again.
        world.a.reset()
        world.b.reset()
        world.gateway.wait_at_rest()
    world.a.reset()
    world.b.reset()
    return world.gateway


@pytest.fixture
def a(world: World, gateway: GatewayProcess) -> ScriptedEngine:
    """The engine that is tried first."""
    return world.a


@pytest.fixture
def b(world: World, gateway: GatewayProcess) -> ScriptedEngine:
    """The engine that is tried second."""
    return world.b


@pytest.fixture(scope="session")
def key(world: World) -> str:
    """A key that the gateway knows."""
    return world.key


@pytest.fixture(scope="session")
def shared_client(world: World) -> Iterator[httpx.Client]:
    """One client for the session: to build one costs more than a call."""
    with client_for(world.gateway, world.key) as client:
        yield client


@pytest.fixture
def http(gateway: GatewayProcess, shared_client: httpx.Client) -> httpx.Client:
    """A plain client with the key."""
    return shared_client


@pytest.fixture(scope="session")
def shared_sdk(world: World) -> Iterator[openai.OpenAI]:
    """One SDK client for the session."""
    with sdk_for(world.gateway, world.key) as client:
        yield client


@pytest.fixture
def sdk(gateway: GatewayProcess, shared_sdk: openai.OpenAI) -> openai.OpenAI:
    """The official SDK with the key; it repeats nothing by itself, so that each call is seen."""
    return shared_sdk


@pytest.fixture
def wire(gateway: GatewayProcess, key: str) -> Iterator[Wire]:
    """A bare connection to the gateway."""
    with Wire(gateway.port, key) as connection:
        yield connection


def client_for(gateway: GatewayProcess, key: str) -> httpx.Client:
    """A plain client of a gateway."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=gateway.url, headers=headers, trust_env=False, verify=False, timeout=20)


def sdk_for(gateway: GatewayProcess, key: str) -> openai.OpenAI:
    """The SDK for a gateway."""
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=20)
