"""One vLLM, one gateway that starts the reference engine itself, both serving k2-tiny; and the official SDK in front."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.engines.vllm_process import CONTEXT_LENGTH, VllmServer, vllm_server
from tests.support.gateway_process import GatewayProcess, Json, free_port, gateway_process, poll

MODEL = Path(__file__).resolve().parents[3] / "deploy" / "lab" / "k2-tiny"
KEY = "mg-0123456789ab-" + "k" * 43
# Each engine alone under a name of its own, and both behind the name that a client would use.
ENGINES = ("on-vllm", "on-reference")
REFERENCE_SECONDS = 120.0


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    with vllm_server(MODEL, tmp_path_factory.mktemp("vllm")) as server:
        yield server


def config(vllm_url: str, reference_port: int) -> Json:
    checkpoint = {"id": "moegate/k2-tiny", "licence": "mit", "context_length": CONTEXT_LENGTH}
    launch = {"model": str(MODEL), "port": reference_port, "threads": 1}
    behind = {"vllm": {"backend": "vllm", "url": vllm_url}, "reference": {"backend": "torch_reference"}}
    vllm_replica = {**behind["vllm"], "served_model": "kimi-k2", "max_concurrent": 16}
    reference = {**behind["reference"], "served_model": "kimi-k2", "max_concurrent": 4}
    return {
        "models": [
            {"name": "on-vllm", "checkpoint": checkpoint, "replicas": [{"name": "vllm", **vllm_replica}]},
            {
                "name": "on-reference",
                "checkpoint": checkpoint,
                "replicas": [{"name": "reference", **reference, "launch": launch}],
            },
            {
                "name": "kimi-k2",
                "checkpoint": checkpoint,
                "replicas": [
                    {"name": "vllm-too", **vllm_replica},
                    {"name": "reference-too", **reference, "url": f"http://127.0.0.1:{reference_port}"},
                ],
            },
        ],
        "policies": {
            "admission": [{"use": "concurrency_limit", "per_key": 64}],
            "routing": [{"use": "context_fit"}, {"use": "least_loaded"}],
        },
        "plugins": [
            {"use": "api_keys", "keys": [{"name": "test", "tenant": "test", "secret": KEY}]},
            {"use": "prometheus"},
        ],
    }


@pytest.fixture(scope="session")
def gateway(vllm: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with gateway_process(config(vllm.url, free_port()), folder) as process:
        poll(process.at_rest, f"all replicas are ready:\n{process.log[-2000:]}", REFERENCE_SECONDS)
        yield process


@pytest.fixture(scope="session")
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture(params=ENGINES)
def model(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)
