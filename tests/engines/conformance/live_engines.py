"""Starts one real engine at a time behind a gateway, as deploy/lab/moegate.yaml says, and asks it how busy it is."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from backends.environments import engine_python
from gateway.errors import ConfigError
from tests.conformance.backends.case import Need
from tests.conformance.backends.declarations import live_declaration
from tests.conformance.backends.target import Clients, Target, clients
from tests.support.gateway_process import GatewayProcess, free_port, gateway_process, poll

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
LAB = ROOT / "deploy" / "lab" / "moegate.yaml"
KEY = "mg-0123456789ab-" + "k" * 43
# Kernels are compiled at the very first start, and machines may be busy.
START_SECONDS = 900.0
CALL_SECONDS = 240.0
STOP_SECONDS = 120.0

# Where an engine tells how many requests it runs: path and what stands before the number.
GAUGES: Mapping[str, tuple[str, str]] = {
    "vllm": ("/metrics", r"^vllm:num_requests_running\{.*\} "),
    "sglang": ("/v1/loads?include=core", r'"num_running_reqs":'),
    "ktransformers": ("/v1/loads?include=core", r'"num_running_reqs":'),
    "llama_cpp": ("/metrics", r"^llamacpp:requests_processing "),
    "torch_reference": ("/metrics", r"^moegate_reference_engine_requests_running "),
}
# What the model and the engine's settings give beside the gateway; k2-tiny does not think.
GIVES: Mapping[str, frozenset[Need]] = {
    "vllm": frozenset({Need.RUNNING, Need.SEED}),
    "sglang": frozenset({Need.RUNNING}),  # seeds repeat only with --enable-deterministic-inference
    "ktransformers": frozenset({Need.RUNNING}),
    "llama_cpp": frozenset({Need.RUNNING, Need.SEED}),
    "torch_reference": frozenset({Need.RUNNING, Need.SEED}),
}
LIVE = tuple(GAUGES)


def lab_replica(name: str) -> Json:
    """How the lab starts an engine, on a free port."""
    lab = yaml.safe_load(LAB.read_text())
    (found,) = [each for model in lab["models"] for each in model["replicas"] if each["backend"] == name]
    model = ROOT / found["launch"]["model"]
    return {**found, "launch": {**found["launch"], "model": str(model), "port": free_port()}}


def config(replicas: Mapping[str, Json]) -> Json:
    """Each engine alone under a name and an alias of its own."""
    checkpoint = {"id": "moegate/k2-tiny", "licence": "mit", "context_length": 8192}
    return {
        "models": [
            {"name": f"on-{name}", "aliases": [f"alias-of-{name}"], "checkpoint": checkpoint, "replicas": [replica]}
            for name, replica in replicas.items()
        ],
        "policies": {"admission": [{"use": "concurrency_limit", "per_key": 64}], "routing": [{"use": "context_fit"}]},
        "plugins": [
            {"use": "api_keys", "keys": [{"name": "demo", "tenant": "demo", "secret": KEY}]},
            {"use": "prometheus"},
        ],
    }


def installed(name: str) -> None:
    """Skip where the engine is not: nothing is shown then, and nothing counted.

    Raises:
        Skipped: with the command that installs it.
    """
    try:
        engine_python(name.replace("_", "-"))
    except ConfigError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class LiveEngines:
    """A gateway with real engines behind it, each alone under `on-NAME`."""

    gateway: GatewayProcess
    clients: Clients
    replicas: Mapping[str, Json]

    def target(self, name: str) -> Target:
        """What cases are put to."""
        return Target(
            engine=name,
            model=f"on-{name}",
            aliases=(f"alias-of-{name}",),
            clients=self.clients,
            declaration=live_declaration(name),
            running=lambda: self.running(name),
            gives=GIVES[name],
        )

    def running(self, name: str) -> float:
        """How many requests the engine itself says that it runs."""
        path, before = GAUGES[name]
        text = httpx.get(self.url(name) + path, trust_env=False, timeout=30).text
        return sum(map(float, re.findall(rf"{before}(\d+(?:\.\d+)?)", text, re.MULTILINE)))

    def url(self, name: str) -> str:
        """Where the engine listens; clients never ask there."""
        return f"http://127.0.0.1:{self.replicas[name]['launch']['port']}"

    def precision(self, name: str) -> str:
        """How its weights are read, as far as the lab says."""
        launch = self.replicas[name]["launch"]
        return str(launch.get("dtype") or launch.get("method") or "as converted")

    def about(self, name: str) -> str:
        """What is at work there, as far as it says."""
        for path in ("/version", "/server_info", "/props"):
            with suppress(httpx.HTTPError, ValueError):
                answer = httpx.get(self.url(name) + path, trust_env=False, timeout=30)
                found = answer.json() if answer.is_success else {}
                version = found.get("version") or found.get("build_info")
                if version:
                    return f"{version}, k2-tiny, {self.precision(name)}"
        return "k2-tiny"


@contextmanager
def live_engines(folder: Path, *names: str) -> Iterator[LiveEngines]:
    """These engines, started by the gateway and ready; they end with the block."""
    replicas = {name: lab_replica(name) for name in names}
    with gateway_process(config(replicas), folder, ready_path="/healthz") as gateway:
        poll(gateway.at_rest, f"{', '.join(names)} are ready:\n{gateway.log[-3000:]}", START_SECONDS)
        with clients(gateway.url, KEY, CALL_SECONDS) as asking:
            yield LiveEngines(gateway, asking, replicas)
        # Here already, because engines that are busy, on a machine that is, take longer than a gateway alone.
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait_exit(STOP_SECONDS) == 0, f"the gateway ended badly:\n{gateway.log[-4000:]}"
