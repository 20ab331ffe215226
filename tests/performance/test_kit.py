"""Checks that the bench kit counts rightly, on a load too short to say anything about speed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.performance.accounting import Watch, memory_bytes, process_tree
from tests.performance.figures import Spread, percentile
from tests.performance.machine import describe
from tests.performance.measure import QUICK, Meter
from tests.performance.report import Results, markdown
from tests.performance.targets import Place, direct
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    """An engine paced as the bench paces it."""
    with scripted_engine("--timestamps", "--chunk-interval-ms", "10") as running:
        yield running


def load(engine: ScriptedEngine, mode: str, *options: str) -> dict[str, Any]:
    """Run the generator as the bench does."""
    command = [sys.executable, "-m", "tests.performance.load", mode, "--url", engine.url, "--warmup-seconds", "0.05"]
    command += ["--chunk-interval-ms", "10", "--watch", f"engine={engine.pid}", *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60)
    return cast("dict[str, Any]", json.loads(done.stdout))


def test_calls(engine: ScriptedEngine) -> None:
    """Every call in the window has a latency, and none failed."""
    run = load(engine, "calls", "--connections", "4", "--seconds", "0.2")
    assert run["completed"] == run["latency_us"]["count"] > 0
    assert run["errors"] == 0
    assert run["watched"]["engine"]["cpu_ns"] > 0


def test_streams(engine: ScriptedEngine) -> None:
    """Every stream ran to its end, every chunk arrived with its own delay."""
    run = load(engine, "streams", "--connections", "8", "--seconds", "0.2")
    assert run["streams_completed"] == run["streams_started"] == run["streams_open_at_window_end"] == 8
    assert run["chunks_missing"] == run["errors"] == 0
    assert run["chunk_delay_us"]["count"] == run["chunks"] > 0


def test_errors_are_counted(engine: ScriptedEngine) -> None:
    """A stream that is cut is an error, not a fast stream."""
    engine.all_calls("midstream_cut")
    try:
        run = load(engine, "streams", "--connections", "2", "--seconds", "0.1")
    finally:
        engine.reset()
    assert run["errors"] == 2
    assert run["streams_completed"] == 0


def test_page(engine: ScriptedEngine, tmp_path: Path) -> None:
    """One round becomes a page that names the target, the machine and what was skipped."""
    plan = replace(QUICK, rounds=1, call_seconds=0.1, latency_seconds=0.1, stream_seconds=0.1, streams=4)
    plan = replace(plan, cancel_seconds=0.1, idle_seconds=0.01, warmup_seconds=0.05, chunk_interval_ms=10.0)
    target = direct(Place(engine, tmp_path))
    results = Results("a date", plan, describe(), pinned=False, targets={"direct": target})
    results.rounds["direct"] = [Meter(plan, engine, ()).round(target)]
    results.skipped["vllm-router"] = "not installed"
    page = markdown(results)
    assert "| direct |" in page
    assert "vllm-router: SKIPPED, not installed" in page
    assert results.rounds["direct"][0].errors == 0


def test_own_process_is_accounted() -> None:
    """The kernel's clock of a process moves with its work, and its tree holds its children."""
    watch = Watch.tree("self", os.getpid())
    before = watch.cpu_ns()
    sum(range(200_000))
    assert watch.cpu_ns() > before
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in process_tree(os.getpid())
    assert memory_bytes([os.getpid()])["pss_bytes"] > 0


def test_figures() -> None:
    """Percentiles are of the nearest rank, and a spread shows its ends."""
    assert percentile([], 0.5) == 0.0
    assert percentile(list(range(100)), 0.99) == 99
    assert Spread.over([3.0, 1.0, 2.0]).text() == "2 (1-3)"
    assert Spread.over([2.0]).text(1) == "2.0"
