"""`moegate bench` against scripted engines and a gateway: what it counts is what happened there."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.contracts.keys import generate_key
from tests.integration.configs import config, model, replica
from tests.support.gateway_process import COMMAND, FORGETFUL, gateway_process, moegate, poll
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

QUICK = ("--model", "kimi-k2", "--duration", "0.6", "--warm-up", "0.1", "--max-tokens", "8", "--json", "found.json")
# A plain answer of the scripted engine is its whole sentence, whatever is asked.
PLAIN_ANSWER_TOKENS = 33


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine("--chunk-interval-ms", "2", name="fast") as running:
        yield running


def bench(folder: Path, *options: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = moegate("bench", *QUICK, *options, folder=folder, environment=environment)
    file = folder / "found.json"
    return done, json.loads(file.read_text()) if file.exists() else {}


def test_levels_of_one_engine(engine: ScriptedEngine, tmp_path: Path) -> None:
    engine.reset()
    done, found = bench(tmp_path, "--url", engine.url, "--concurrency", "1,4")
    assert done.returncode == 0, done.stderr
    one, four = found["levels"]
    assert (one["concurrency"], four["concurrency"]) == (1, 4)
    for level in (one, four):
        assert level["errors"] == {}
        assert level["output_tokens"] == 8 * level["answered"] > 0, "by the engine's own usage"
        assert level["without_usage"] == 0
        assert level["ttft_seconds"]["count"] == level["answered"]
        assert level["itl_seconds"]["count"] == 7 * level["answered"]
        assert 0 < level["ttft_seconds"]["p50"] <= level["total_seconds"]["p99"]
    assert four["answered"] > one["answered"]
    assert "TTFT ms p50/p90/p99" in done.stdout
    assert "round 1 of 1, 4 at once" in done.stderr
    engine.wait(running=0)


def test_through_a_gateway_with_a_key(engine: ScriptedEngine, tmp_path: Path) -> None:
    key = generate_key()
    settings = config(model("kimi-k2", replica("fast", engine), **FORGETFUL), keys={"team": key})
    with gateway_process(settings, tmp_path) as gateway:
        done, found = bench(tmp_path, "--url", f"{gateway.url}/v1", "--concurrency", "2", MOEGATE_KEY=key)
        assert done.returncode == 0, done.stderr
        assert found["levels"][0]["answered"] > 0
        refused, _ = bench(tmp_path, "--url", gateway.url, "--concurrency", "2", MOEGATE_KEY=generate_key())
    assert refused.returncode == 1
    assert "x status_401: " in refused.stdout
    for text in (done.stdout, done.stderr, json.dumps(found), refused.stdout, refused.stderr):
        assert key not in text


def test_of_two_engines_the_slower_is_called_slower(engine: ScriptedEngine, tmp_path: Path) -> None:
    with scripted_engine("--chunk-interval-ms", "40", "--first-chunk-ms", "40", name="slow") as slow:
        urls = ("--url", engine.url, "--url", slow.url)
        done, found = bench(tmp_path, *urls, "--concurrency", "2", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    assert {level["endpoint"]: len(level["by_round"]) for level in found["levels"]} == {"A": 2, "B": 2}
    lines = [line for line in done.stdout.splitlines() if line.startswith("2 at once  ")]
    assert len(lines) == 6
    assert all("A is better in every round" in line for line in lines)


FAULTS = {
    "queue_full_503": "status_503",
    "queue_full_in_200": "error_event",
    "midstream_error_event": "error_event",
    "midstream_cut": "broken_off",
    "no_done": "",  # a finish_reason has come: all was said
    "garbage": "broken_off",
    "closes": "not_reached",
    "missing_usage": "",
    "comments": "",
    "utf8_split": "",
    "event_across_packets": "",
}


@pytest.mark.parametrize(("fault", "kind"), FAULTS.items())
def test_each_fault_by_its_name(engine: ScriptedEngine, tmp_path: Path, fault: str, kind: str) -> None:
    engine.reset()
    engine.all_calls(fault)
    done, found = bench(tmp_path, "--url", engine.url, "--concurrency", "1")
    engine.reset()
    (level,) = found["levels"]
    if kind:
        assert done.returncode == 1, done.stdout
        assert list(level["errors"]) == [kind], done.stdout
        assert level["answered"] == 0
        assert level["ttft_seconds"] is None
        assert "nothing was answered" in done.stderr
    else:
        assert (done.returncode, level["errors"]) == (0, {}), done.stdout
        assert level["without_usage"] == (level["answered"] if fault == "missing_usage" else 0)


def test_an_engine_that_hangs_is_timed_out(engine: ScriptedEngine, tmp_path: Path) -> None:
    engine.reset()
    engine.all_calls("hang_after_headers")
    done, found = bench(tmp_path, "--url", engine.url, "--concurrency", "2", "--timeout", "0.2")
    engine.reset()
    assert done.returncode == 1
    assert list(found["levels"][0]["errors"]) == ["timed_out"]


def test_plain_answers(engine: ScriptedEngine, tmp_path: Path) -> None:
    done, found = bench(tmp_path, "--url", engine.url, "--concurrency", "1", "--no-stream")
    assert done.returncode == 0, done.stderr
    (level,) = found["levels"]
    assert level["output_tokens"] == PLAIN_ANSWER_TOKENS * level["answered"] > 0
    assert level["ttft_seconds"] is None
    assert "TTFT" not in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--url", "nowhere"), "--url: an http or https URL"),
        (("--url", "http://127.0.0.1:1", "--concurrency", "many"), "--concurrency: numbers from 1"),
        (("--url", "http://127.0.0.1:1", "--prompts", "none.jsonl"), "none.jsonl cannot be read"),
        (("--url", "http://127.0.0.1:1", "--key", "a\nb"), "the key holds characters"),
    ],
)
def test_wrong_options_are_told_and_nothing_is_asked(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    done, found = bench(tmp_path, *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert found == {}


def test_nobody_there(tmp_path: Path) -> None:
    done, found = bench(tmp_path, "--url", "http://127.0.0.1:1", "--concurrency", "1")
    assert done.returncode == 1
    assert list(found["levels"][0]["errors"]) == ["not_reached"]


def test_what_was_measured_before_an_interrupt_is_told(engine: ScriptedEngine, tmp_path: Path) -> None:
    engine.reset()
    options = ("--url", engine.url, "--concurrency", "1,2", "--rounds", "50")
    with subprocess.Popen(
        [COMMAND, "bench", *QUICK, *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = iter(process.stderr.readline, "")
        poll(lambda: "calls/s" in next(told, "calls/s"), "a window is measured")
        process.send_signal(signal.SIGINT)
        shown, rest = process.communicate(timeout=20)
    assert process.returncode == 130, rest
    assert "interrupted; this was measured until then" in rest
    assert "1        " in shown
    assert json.loads((tmp_path / "found.json").read_text())["levels"][0]["answered"] > 0
    engine.wait(running=0)
