"""What the tests of `moegate compare` share: engines, a gateway before them, a file of calls, and the command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.contracts.keys import generate_key
from tests.integration.configs import config, model, replica
from tests.support.gateway_process import FORGETFUL, GatewayProcess, gateway_process, moegate
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

Json = dict[str, Any]

CITIES = ("Paris", "Oslo", "Rome", "Tokyo")
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
SCOPES = ["inference", "pin", "admin:read"]


@dataclass(frozen=True)
class Scene:
    """Engines a and b that answer alike, `slow` that takes its time for a token, and a gateway before them."""

    gateway: GatewayProcess
    a: ScriptedEngine
    b: ScriptedEngine
    key: str
    ordinary: str


@contextmanager
def comparison(folder: Path) -> Iterator[Scene]:
    """All of it, running."""
    key, ordinary = generate_key(), generate_key()
    with (
        scripted_engine("--lifelike", name="a") as a,
        scripted_engine("--lifelike", name="b") as b,
        scripted_engine(name="fast") as fast,
        scripted_engine("--chunk-interval-ms", "30", name="slow") as slow,
    ):
        settings = config(
            model("kimi-k2", replica("a", a), replica("b", b), **FORGETFUL),
            model("narrow", replica("one", a, max_concurrent=1), replica("more", b), **FORGETFUL),
            model("pace", replica("fast", fast), replica("slow", slow), **FORGETFUL),
            keys={"ordinary": ordinary},
            policies={"routing": [{"use": "pin"}, {"use": "context_fit"}]},
        )
        keys = settings["plugins"][0]["keys"]
        keys.append({"name": "operator", "tenant": "operator", "secret": key, "scopes": SCOPES})
        settings["plugins"].append({"use": "replicas"})
        with gateway_process(settings, folder) as gateway:
            yield Scene(gateway, a, b, key, ordinary)


def calls_file(folder: Path, *faults: str, tools: int = 20, sums: int = 20) -> Path:
    """Tool calls and sums; call n carries fault n, where there is one (the text of a marker that engines read)."""
    lines: list[Json] = []
    for number in range(tools):
        text = f"[{number}] What is the weather in {CITIES[number % len(CITIES)]}?"
        lines.append({"id": f"tool-{number}", "finish_reason": "tool_calls", "body": body(text, tools=TOOLS)})
    lines += [
        {"id": f"sum-{number}", "finish_reason": "stop", "body": body(f"What is {number} + 7?")}
        for number in range(sums)
    ]
    for line, fault in zip(lines, faults, strict=False):
        if fault:
            line["body"]["user"] = f"[[fault:{fault}]]"
    file = folder / "calls.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def body(text: str, **more: Any) -> Json:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def arguments(scene: Scene, data: Path, *options: str, arms: tuple[str, str] = ("a", "b")) -> list[str]:
    return [
        *("compare", "run", "--a", f"replica={arms[0]}", "--b", f"replica={arms[1]}", "--seed", "7"),
        *("--data", str(data), "--url", scene.gateway.url, "--out", str(data.parent / "out"), *options),
        *(() if "--model" in options else ("--model", "kimi-k2")),
    ]


def run(scene: Scene, data: Path, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return moegate(
        *arguments(scene, data, *options, **more), folder=data.parent, environment={"MOEGATE_KEY": scene.key}
    )


def results(data: Path) -> list[Json]:
    text = (data.parent / "out" / "results.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
