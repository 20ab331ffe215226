"""Real engines that serve k2-tiny, compared by `moegate compare`: alike within stated margins, and each like itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conformance.live_engines import KEY, START_SECONDS, STOP_SECONDS, config, installed, lab_replica
from tests.support.gateway_process import COMMAND, GatewayProcess, gateway_process, poll

Json = dict[str, Any]
REFERENCE = "torch_reference"
COMPARE_SECONDS = 1500.0
CITIES = "Oslo Rome Tokyo Paris Lima Cairo Delhi Quito Osaka Lyon Seoul Manila Warsaw Vienna Dublin Athens".split()  # noqa: SIM905 - words read best in a row
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
ASKED = ("What is the weather in {}?", "How is the weather in {} today?", "Is it raining in {}?", "Weather in {}?")

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


def calls(file: Path) -> Path:
    """64 tool calls and 64 sums, greedy."""
    bodies = [body(asked.format(city), tools=TOOLS) for asked in ASKED for city in CITIES]
    bodies += [body(f"What is {first} + {second}?") for first in range(8) for second in range(8)]
    file.write_text("".join(f"{json.dumps(each)}\n" for each in bodies))
    return file


def body(text: str, **more: Any) -> Json:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 64, **more}


def moegate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, "MOEGATE_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=COMPARE_SECONDS,
        check=False,
    )


def compared(gateway: GatewayProcess, arms: tuple[str, str], folder: Path, *required: str) -> Json:
    """What the report says of two backends."""
    out = str(folder / "out")
    options = ("--url", gateway.url, "--model", "on-both", "--data", str(calls(folder / "calls.jsonl")), "--out", out)
    asked = moegate("compare", "run", "--a", f"backend={arms[0]}", "--b", f"backend={arms[1]}", "--seed", "7", *options)
    assert asked.returncode == 0, asked.stderr
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
