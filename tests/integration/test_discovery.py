"""A gateway whose replicas are found by DNS, or by Kubernetes: they come and go, and nothing that fails takes one away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat
from tests.integration.configs import OPERATIONS, config, model
from tests.integration.conftest import World
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, gateway_process, poll
from tests.support.kubernetes_api.server import ApiServer, api_server
from tests.support.kubernetes_api.slices import endpoint, endpoint_slice
from tests.support.name_server import NameServer, name_server
from tests.support.scripted_engine.process import ScriptedEngine

KEY = generate_key()
SERVICE = "_vllm._tcp.engines.example"
REPLICA = {"name": "gpu", "backend": "openai_compatible", "options": {"operations": OPERATIONS}}
# In which a source that failed for a while is asked again for sure.
PATIENCE_SECONDS = 30.0


@pytest.fixture
def names() -> Iterator[NameServer]:
    with name_server() as found:
        yield found


@pytest.fixture
def cluster() -> Iterator[ApiServer]:
    with api_server() as found:
        yield found


def settings(source: dict[str, Any]) -> dict[str, Any]:
    targets = [{"replica": REPLICA, "change_seconds": 1, **source}]
    found = config(model("kimi-k2", targets=targets), keys={"x": KEY})
    found["policies"]["routing"] = []
    return found


def ask(gateway: GatewayProcess) -> Any:
    return gateway.http.post(CHAT, json=chat(), headers={"x-api-key": KEY})


def served(gateway: GatewayProcess, engine: ScriptedEngine) -> bool:
    """Whether a call is served by this engine; while it is found, a call may be refused."""
    before = engine.state()["seen"]
    return bool(ask(gateway).status_code == 200 and engine.state()["seen"] > before)


def condition(gateway: GatewayProcess, name: str) -> bool:
    return gateway.metric("moegate_targets_source", condition=name) == 1


def port(engine: ScriptedEngine) -> int:
    return int(engine.url.rpartition(":")[2])


def test_dns(names: NameServer, world: World, tmp_path: Path) -> None:
    a, b = world.a, world.b
    a.reset()
    b.reset()
    source = {"use": "dns", "name": SERVICE, "records": "srv", "servers": [names.address], "least_seconds": 1}
    with gateway_process(settings(source), tmp_path, ready_path="/healthz") as gateway:
        answer = ask(gateway)
        assert (answer.status_code, answer.headers["x-moegate-error"]) == (503, "no_replica_available")
        assert gateway.http.get("/readyz").json()["models"] == {"kimi-k2": ["starting: no replica has been found yet"]}
        poll(lambda: condition(gateway, "failing"), "the source fails, as the name is not there")
        assert "does not exist (NXDOMAIN)" in gateway.log

        names.put("host.example", "A", "127.0.0.1", ttl=1)
        names.put(SERVICE, "SRV", f"0 1 {port(a)} host.example.", ttl=0)
        poll(lambda: served(gateway, a), "the first engine is found", PATIENCE_SECONDS)
        name = ask(gateway).headers["x-moegate-replica"]
        assert name.startswith("gpu-")
        assert "127" not in name

        with Wire(gateway.port, KEY) as wire:
            wire.ask(chat(fault="slow,gate=g", stream=True))
            wire.read_to(b" A")
            names.put(SERVICE, "SRV", f"0 1 {port(b)} host.example.", ttl=0)
            poll(lambda: served(gateway, b), "the second one has taken its place", PATIENCE_SECONDS)
            a.release("g")
            wire.read_to(b"data: [DONE]\n\n")

        names.behave(rcode="SERVFAIL")
        poll(lambda: condition(gateway, "failing"), "the source fails", PATIENCE_SECONDS)
        assert served(gateway, b)
        assert gateway.metric("moegate_targets_known") == 1


def test_kubernetes(cluster: ApiServer, world: World, tmp_path: Path) -> None:
    a, b = world.a, world.b
    a.reset()
    b.reset()
    (tmp_path / "token").write_text(cluster.token)
    source = {"use": "kubernetes", "service": "vllm", "namespace": "ml", "server": cluster.url, "port": "http"}
    source |= {"token_file": str(tmp_path / "token"), "ca_file": None}

    def pods(**ready: bool) -> None:
        for pod, engine in (("a", a), ("b", b)):
            ports = [{"name": "http", "port": port(engine)}]
            cluster.put(endpoint_slice(f"vllm-{pod}", endpoint("127.0.0.1", pod, ready=ready[pod]), ports=ports))

    pods(a=True, b=False)
    with gateway_process(settings(source), tmp_path) as gateway:
        assert ask(gateway).headers["x-moegate-replica"] == "gpu-a"
        pods(a=False, b=True)
        poll(lambda: served(gateway, b), "the other pod is ready", PATIENCE_SECONDS)
        cluster.token = "another-token"
        cluster.break_off()
        poll(lambda: condition(gateway, "failing"), "the token is not valid any more", PATIENCE_SECONDS)
        assert served(gateway, b)
        (tmp_path / "token").write_text(cluster.token)
        poll(lambda: condition(gateway, "well"), "the new token is", PATIENCE_SECONDS)
        pods(a=True, b=False)
        poll(lambda: served(gateway, a), "the first pod is ready again", PATIENCE_SECONDS)
        assert "first-token" not in gateway.log + str(gateway.http.get("/metrics").text)
