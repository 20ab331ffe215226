"""Checks that leavers, levels and curves are counted rightly: on targets that tell at once, late and never; no time is asserted."""

import argparse
import json
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from tests.performance.figures import Spread
from tests.performance.growth import QUICK, markdown, wanted
from tests.performance.growth import plots as growth_plots
from tests.performance.growth_axes import AXES, Growth
from tests.performance.hang import Waits, hanging
from tests.performance.leaving import paired, settled
from tests.performance.load_requests import request_cycle
from tests.performance.pages import write
from tests.performance.plots import Axes, bars, lines
from tests.performance.remains import Remains
from tests.performance.soak import keep
from tests.performance.startups import first_answer, start_timed
from tests.performance.targets import Place, Target, direct
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"cpu": "a CPU", "cores": 2, "kernel": "6", "python": "3", "moegate_commit": "c", "load_average_before": 0}


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine("--timestamps", "--chunk-interval-ms", "10") as running:
        yield running


def cancels(engine: ScriptedEngine, url: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.performance.load", "cancels", "--url", url, "--connections", "20"]
    command += ["--seconds", "0.5", "--warmup-seconds", "0.05", "--chunk-interval-ms", "10"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60)
    run = cast("dict[str, Any]", json.loads(done.stdout))
    run["closed"] = {int(client): moment for client, moment in run["closed"].items()}
    return run


def test_each_that_leaves_is_seen_once_and_after_it_left(engine: ScriptedEngine) -> None:
    run = cancels(engine, engine.url)
    assert run["errors"] == 0
    assert run["streams_started"] == 20
    leaving = settled(run["closed"], engine.aborts, 5.0)
    assert leaving.seen == len(run["closed"]) > 0
    assert leaving.never == 0
    seen = engine.aborts()
    assert all(seen[client] >= left for client, left in run["closed"].items())


def test_streams_that_end_by_themselves_are_errors_not_leavers(engine: ScriptedEngine) -> None:
    engine.all_calls("midstream_cut")
    try:
        run = cancels(engine, engine.url)
    finally:
        engine.reset()
    assert run["errors"] >= 20


def test_clients_are_paired_by_name_whatever_the_order() -> None:
    closed = {1: 1_000_000, 2: 2_000_000, 3: 3_000_000}
    late = paired(closed, {2: 2_500_000, 1: 3_000_000, 9: 1})
    assert (late.seen, late.never) == (2, 1)
    assert late.p99_us == 2_000.0


def test_patience_ends_for_those_that_are_never_told() -> None:
    now = [0.0]
    told: dict[int, int] = {}

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 1.0:
            told[1] = 2_000

    leaving = settled({1: 1_000, 2: 1_000}, lambda: told, 3.0, clock=lambda: now[0], sleep=sleep)
    assert (leaving.seen, leaving.never, leaving.p50_us) == (1, 1, 1.0)
    assert 3.0 < now[0] < 4.0


def test_the_engine_forgets_leavers_with_everything_else(engine: ScriptedEngine) -> None:
    with socket.create_connection(("127.0.0.1", engine.port)) as client:
        body = (
            b'{"model":"kimi-k2","stream":true,"max_tokens":1000,"messages":[{"role":"user","content":"[[client:7]]"}]}'
        )
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: e\r\ncontent-length: %d\r\n\r\n" % len(body)
        client.sendall(head + body)
        client.recv(100)
    engine.wait(aborted__ge=1, running=0)
    assert 7 in engine.aborts()
    engine.reset()
    assert engine.aborts() == {}


def test_a_start_counts_from_the_process_to_the_first_answer(engine: ScriptedEngine, tmp_path: Path) -> None:
    """What was not started here has no start-up time, and what does not answer is no target."""
    with ExitStack() as stack:
        target, times = start_timed(direct, lambda folder: Place(engine, folder), 2, stack)
    assert target.url == engine.url
    assert times == []
    assert first_answer(target)
    assert not first_answer(Target("gone", "http://127.0.0.1:1", 1, "", ""))


def test_calls_take_the_keys_in_turn(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one\ntwo")
    options = argparse.Namespace(url="http://h:1", model="m", header=["a: b"], prompt_bytes=10, keys=keys)
    requests = request_cycle(options)
    sent = [next(requests) for _ in range(3)]
    assert b"\r\nauthorization: Bearer one\r\n" in sent[0]
    assert b"Bearer two" in sent[1]
    assert sent[2] == sent[0]
    assert all(b"\r\na: b\r\n" in each for each in sent)


def grown() -> Growth:
    growth = Growth(AXES[0], "moegate", bytes_per_stream=[2048.0, 1024.0])
    growth.rounds = {10: [40.0, 42.0, 41.0], 100: [41.0, 41.0, 41.0], 1000: [82.0, 82.0, 82.0]}
    return growth


def test_growth_is_told_as_a_ratio_and_as_what_one_more_costs() -> None:
    growth = grown()
    assert growth.times == 2.0
    assert 40 < growth.slope_ns < 50
    page = markdown([growth], {"nginx, keys": "not installed"}, QUICK, MACHINE)
    assert "| moegate | 41.0 (40.0-42.0) | 41.0 | 82.0 | 2.00 |" in page
    assert "| moegate | 2.0 |" in page
    assert "- nginx, keys: not installed" in page
    ET.fromstring(growth_plots([growth])["streams"])


def test_keys_grow_only_where_keys_are_kept() -> None:
    keys = next(axis for axis in AXES if axis.name == "keys")
    assert wanted(keys, "moegate-keyed")
    assert not wanted(keys, "nginx")
    assert wanted(AXES[0], "nginx")
    assert not wanted(AXES[0], "moegate-keyed")


def test_plots_are_whole_and_leave_out_what_was_not_measured() -> None:
    drawn = bars("a < b", [("moegate", Spread(10, 8, 12)), ("x", Spread(0, 0, 0)), ("y", Spread(9e3, 1, 9e4))], "µs")
    names = [text.text for text in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert names[0] == "a < b; logarithmic"
    assert "moegate" in names
    assert "x" not in names
    assert bars("none", [("x", Spread(float("nan"), 0, 0))], "µs") == ""
    assert lines("none", {}, Axes("x", "y")) == ""
    ET.fromstring(lines("flat", {"a": [(1.0, 0.0), (2.0, 0.0)]}, Axes("x", "y")))


def test_page_and_plots_lie_beside_each_other(tmp_path: Path) -> None:
    page = write(tmp_path, "a", "# A\n", {"a": 1}, {"b": "<svg/>"})
    assert "![b](a-b.svg)" in page
    assert {path.name for path in tmp_path.iterdir()} == {"a.md", "a.json", "a-b.svg"}


def test_the_soak_keeps_its_curve(tmp_path: Path) -> None:
    memory = [(float(at), Remains(2_000_000, 1_000_000 + at, 5, 1, 3)) for at in range(1500)]
    options = argparse.Namespace(out=tmp_path, streams=200, minutes=25.0)
    path = keep(options, Target("moegate", "http://h:1", 1, "", ""), memory)
    rows = path.with_name(path.name + ".csv").read_text().splitlines()
    assert rows[0].startswith("seconds,pss_bytes")
    assert len(rows) == 1501
    ET.fromstring(path.with_name(path.name + ".svg").read_text())


def test_a_silent_engine_is_well_but_for_calls(engine: ScriptedEngine) -> None:
    target = Target("direct", engine.url, engine.pid, "", "")
    with hanging(engine, "silent"):
        assert engine.state()["fault_for_all"]
        assert engine.state()["health_status"] == 200
    assert first_answer(target)


def test_those_without_answer_are_still_waiting() -> None:
    assert Waits("m", "stopped", 10, 6, 1, 1.0, 2.0, 3.0).waiting == 3
