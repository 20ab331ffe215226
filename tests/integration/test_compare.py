"""`moegate compare run` through a real gateway: each call is asked, pinned and measured, and nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.contracts.keys import generate_key
from tests.integration.comparing import Scene, arguments, calls_file, comparison, results, run
from tests.support.gateway_process import COMMAND, moegate, poll


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with comparison(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def test_each_call_is_asked_of_both_arms_and_measured(scene: Scene, tmp_path: Path) -> None:
    data = calls_file(tmp_path, tools=4, sums=4)
    done = run(scene, data, "--repeat", "2", "--null")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answered"] == 8 * 2 * 2 * 2
    found = results(data)
    assert len({(each["number"], each["repeat"], each.get("copy", 0), each["arm"]) for each in found}) == 64
    for each in found:
        answer = each["answer"]
        assert answer["replica"] == each["arm"], "a pinned call went elsewhere"
        assert 0 < answer["ttft_seconds"] <= answer["total_seconds"]
        assert answer["prompt_tokens"] > 0
        assert answer["completion_tokens"] > 0
        assert each["greedy"] is True
    tool = next(each for each in found if each["call"] == "tool-1")
    assert tool["answer"]["finish_reason"] == "tool_calls"
    assert tool["answer"]["tool_calls"][0]["arguments"] == '{"city":"Oslo"}'
    assert tool["checks"] == {"schema_valid": True}
    total = next(each for each in found if each["call"] == "sum-3")
    assert total["answer"]["text"] == "3 + 7 = 10"


def test_a_run_that_is_over_asks_nothing_again(scene: Scene, tmp_path: Path) -> None:
    data = calls_file(tmp_path, tools=2, sums=2)
    assert run(scene, data).returncode == 0
    before, seen = results(data), scene.a.state()["seen"]
    again = run(scene, data)
    assert again.returncode == 0
    assert "8 calls are answered already" in again.stderr
    assert results(data) == before
    assert scene.a.state()["seen"] == seen


def test_another_run_is_not_mixed_into_a_folder(scene: Scene, tmp_path: Path) -> None:
    data = calls_file(tmp_path, tools=1, sums=1)
    assert run(scene, data).returncode == 0
    other = run(scene, data, "--repeat", "3")
    assert other.returncode == 2
    assert "holds a run with repeats 1, not 3" in other.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_what_was_answered_outlives_a_kill_and_an_interrupt(scene: Scene, tmp_path: Path, how: signal.Signals) -> None:
    data = calls_file(tmp_path, tools=6, sums=6)
    # The first call that each engine gets is held; those after the kill are not.
    for engine in (scene.a, scene.b):
        engine.next_calls("first_byte_stall")
    environment = {"MOEGATE_KEY": scene.key, "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [COMMAND, *arguments(scene, data, "--concurrency", "4")],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        file = tmp_path / "out" / "results.jsonl"
        poll(lambda: file.exists() and file.read_bytes().count(b"\n") == 22, "all but the held calls", 30)
        process.send_signal(how)
        _, errors = process.communicate(timeout=30)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted; 22 of 24 calls are answered" in errors
        assert "the same command goes on" in errors
        assert "Traceback" not in errors
    else:
        # What a kill in the middle of a write leaves.
        with file.open("ab") as torn:
            torn.write(b'{"number":0,"rep')
    before = results(data)[:22] if how is signal.SIGINT else None
    for engine in (scene.a, scene.b):
        engine.reset()
    resumed = run(scene, data, "--concurrency", "4")
    assert resumed.returncode == 0, resumed.stderr
    assert "22 calls are answered already" in resumed.stderr
    found = results(data)
    assert len(found) == len({(each["call"], each["arm"]) for each in found}) == 24
    assert before is None or found[:22] == before


@pytest.mark.parametrize(
    ("options", "key", "status", "says"),
    [
        ((), "ordinary", 1, "lacks the scope pin"),
        ((), "nobody", 1, "key"),
        (("--model", "kimi-k9"), "operator", 2, "--a: model 'kimi-k9' has no replica=a"),
        (("--rate", "-1"), "operator", 2, "rate"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(
    scene: Scene, tmp_path: Path, options: tuple[str, ...], key: str, status: int, says: str
) -> None:
    keys = {"ordinary": scene.ordinary, "nobody": generate_key(), "operator": scene.key}
    data = calls_file(tmp_path, tools=1, sums=1)
    command = arguments(scene, data, *options)
    done = moegate(*command, folder=tmp_path, environment={"MOEGATE_KEY": keys[key]})
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert keys[key] not in done.stderr


def test_a_call_that_finds_no_slot_waits_and_is_no_failure(scene: Scene, tmp_path: Path) -> None:
    """One slot, which is held until another call has been turned away."""
    data = calls_file(tmp_path, tools=0, sums=2)
    scene.a.next_calls("first_byte_stall")
    environment = {"MOEGATE_KEY": scene.key, "PATH": "/usr/bin:/bin"}
    command = arguments(scene, data, "--model", "narrow", "--concurrency", "4", arms=("one", "more"))
    labels = {"model": "narrow", "error": "no_replica_available"}
    refused = scene.gateway.metric("moegate_calls_total", **labels)
    with subprocess.Popen([COMMAND, *command], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        scene.a.wait(waiting=1, timeout_seconds=30)
        poll(lambda: scene.gateway.metric("moegate_calls_total", **labels) > refused, "a call was turned away", 30)
        scene.a.release()
        assert process.wait(60) == 0
    found = results(data)
    assert len(found) == 4
    assert not [each for each in found if each["answer"].get("error")]
    assert max(each["answer"].get("tries", 1) for each in found if each["arm"] == "a") > 1


def test_no_more_calls_are_begun_a_second_than_asked_for(scene: Scene, tmp_path: Path) -> None:
    data = calls_file(tmp_path, tools=0, sums=8)
    assert run(scene, data, "--rate", "20").returncode == 0
    began = [each["started_at"] for each in results(data)]
    assert len(began) == 16
    # A twentieth of a second is allowed for wall clocks that are set.
    assert max(began) - min(began) >= 15 / 20 - 0.05
