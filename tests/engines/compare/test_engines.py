"""Real engines that serve k2-tiny, compared by `moegate compare`: alike within stated margins, and each like itself."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.compare.asking import Json, asked, calls, moegate
from tests.engines.conformance.live_engines import START_SECONDS, STOP_SECONDS, config, installed, lab_replica
from tests.support.gateway_process import GatewayProcess, gateway_process, poll

REFERENCE = "torch_reference"

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module", params=["vllm", "sglang"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, str]]:
    """The reference and one other engine, behind one name; and the other's name."""
    other = str(request.param)
    for engine in (REFERENCE, other):
        installed(engine)
    settings = config({"both": lab_replica(REFERENCE)})
    settings["models"][0]["replicas"].append(lab_replica(other))
    settings["policies"]["routing"] = [{"use": "pin"}, {"use": "context_fit"}]
    settings["plugins"][0]["keys"][0]["scopes"] = ["inference", "pin", "admin:read"]
    settings["plugins"].append({"use": "replicas"})
    with gateway_process(settings, tmp_path_factory.mktemp("gateway"), ready_path="/healthz") as gateway:
        poll(gateway.at_rest, f"both are ready:\n{gateway.log[-3000:]}", START_SECONDS)
        yield gateway, other
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait_exit(STOP_SECONDS) == 0, f"the gateway ended badly:\n{gateway.log[-4000:]}"


def compared(gateway: GatewayProcess, arms: tuple[str, str], folder: Path, *required: str) -> Json:
    """What the report says of two backends."""
    out = str(folder / "out")
    data = calls(folder / "calls.jsonl")
    asked(gateway.url, "on-both", (f"backend={arms[0]}", f"backend={arms[1]}"), data, Path(out), "--seed", "7")
    told = moegate("compare", "report", out, *[part for each in required for part in ("--require", each)])
    print(told.stderr)  # noqa: T201 - the figures are what the run is for
    found: Json = json.loads(told.stdout)
    return found


def test_an_engine_is_like_the_reference(pair: tuple[GatewayProcess, str], tmp_path: Path) -> None:
    gateway, other = pair
    required = (
        "equivalent:schema_accuracy@0.1",
        "equivalent:tool_call_f1@0.1",
        "equivalent:success_rate@0.05",
        "not_inferior:greedy_agreement@0.15",
        "equivalent:clean_rate@0.05",
    )
    found = compared(gateway, (REFERENCE, other), tmp_path, *required)
    assert found["requirements"] == dict.fromkeys(required, True)


def test_an_engine_is_like_itself(pair: tuple[GatewayProcess, str], tmp_path: Path) -> None:
    gateway, other = pair
    found = compared(gateway, (other, other), tmp_path, "equivalent:success_rate@0.05")
    assert found["met"] is True
    assert "inferior" not in found["verdicts"].values()
