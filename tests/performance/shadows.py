"""What shadow mode adds to a client's latency: the same streamed call to a model without and with it, in turns; a paired measure.

Every call of `shadowed` is copied twice, to the other engine and once more to its own, and the copies' streams run beside the
client's through the same event loop. Calls begin one at a time, when no copy is left.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from gateway.contracts.keys import generate_key
from tests.integration.configs import config, model, replica
from tests.support.gateway_process import gateway_process, poll
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

MODELS = ("plain", "again", "shadowed")
CHUNKS = 16
WARM_UP = 20
Z = 1.96


@dataclass
class Times:
    """One model's, in milliseconds, in the order of the rounds."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="shadows", description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--chunk-interval-ms", default="5")
    parser.add_argument("--first-chunk-ms", default="20")
    options = parser.parse_args()
    key = generate_key()
    paces = ("--chunk-interval-ms", options.chunk_interval_ms, "--first-chunk-ms", options.first_chunk_ms)
    with scripted_engine(*paces, name="left") as left, scripted_engine(*paces, name="right") as right:
        settings = config(
            *(model(name, replica(f"left-{name}", left), replica(f"right-{name}", right)) for name in MODELS),
            keys={"x": key},
        )
        arms = [
            {"name": "left", "replicas": ["left-*"]},
            {"name": "right", "replicas": ["right-*"], "weight": 0},
        ]
        shadow = {"name": "shadow", "model": "shadowed", "unit": "call", "arms": arms, "shadow": {"share": 1}}
        settings["plugins"].append({"use": "experiments", "experiments": [shadow]})
        with tempfile.TemporaryDirectory() as folder:
            settings["database"] = f"sqlite:///{folder}/moegate.db"
            with gateway_process(settings, Path(folder)) as gateway:
                times = measure(gateway.port, key, (left, right), options.rounds)
                copied = gateway.metric("moegate_experiment_copies_total", how="served")
    show(times, copied, options.rounds)


def measure(port: int, key: str, engines: tuple[ScriptedEngine, ...], rounds: int) -> dict[str, Times]:
    """Ask each model once a round, in an order that chance gives."""
    rng = random.Random(7)
    times = {name: Times() for name in MODELS}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for number in range(WARM_UP + rounds):
        for name in rng.sample(MODELS, len(MODELS)):
            first, whole = ask(connection, key, name)
            poll(lambda: not any(engine.state()["running"] for engine in engines), "its copies are over")
            if number >= WARM_UP:
                times[name].first.append(first)
                times[name].whole.append(whole)
    connection.close()
    return times


def ask(connection: http.client.HTTPConnection, key: str, name: str) -> tuple[float, float]:
    """Milliseconds until the first chunk, and until the last."""
    body = {"model": name, "stream": True, "max_tokens": CHUNKS, "messages": [{"role": "user", "content": "hi " * 100}]}
    began = perf_counter()
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {key}", "content-type": "application/json"}
    )  # fmt: skip
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read1(65_536)
    first = perf_counter()
    while answer.read1(65_536):
        pass
    return 1_000 * (first - began), 1_000 * (perf_counter() - began)


def show(times: dict[str, Times], copied: float, rounds: int) -> None:
    """A table in Markdown; `again` is a second model without shadow mode, and shows the noise."""
    lines = [
        f"{rounds} rounds, {copied:.0f} copies served. Medians in ms; differences are of the same round, with 95 % intervals.",
        "",
        "| | p50 | p95 | p50 more than `plain` | interval |",
        "|---|---:|---:|---:|---:|",
    ]
    for clock in ("first", "whole"):
        plain = np.array(getattr(times["plain"], clock))
        for name in MODELS:
            found = np.array(getattr(times[name], clock))
            row = f"| {clock}, `{name}` | {np.median(found):.3f} | {np.quantile(found, 0.95):.3f} |"
            if name != "plain":
                middle, low, high = median_interval(found - plain)
                row += f" {middle:+.3f} | {low:+.3f} to {high:+.3f} |"
            lines.append(row if name != "plain" else row + " | |")
    sys.stdout.write("\n".join(lines) + "\n")


def median_interval(values: np.ndarray) -> tuple[float, float, float]:  # type: ignore[type-arg]
    """A median with the interval of its order statistics, which wants nothing of the distribution."""
    ordered = np.sort(values)
    half = Z * len(ordered) ** 0.5 / 2
    low, high = int(len(ordered) / 2 - half), int(np.ceil(len(ordered) / 2 + half))
    return float(np.median(ordered)), float(ordered[max(low, 0)]), float(ordered[min(high, len(ordered) - 1)])


if __name__ == "__main__":
    main()
