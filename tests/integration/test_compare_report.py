"""`moegate compare report` on real answers: what is sabotaged is named, and nothing is where engines are alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.comparing import Scene, calls_file, comparison, run
from tests.support.gateway_process import moegate

Json = dict[str, Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with comparison(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def report(data: Path, *required: str) -> tuple[int, Json]:
    """`compare report`: its exit status, and what it printed; the page and the summary are there."""
    options = [part for each in required for part in ("--require", each)]
    done = moegate("compare", "report", str(data.parent / "out"), *options, folder=data.parent)
    assert done.returncode in (0, 1), done.stderr
    page = (data.parent / "out" / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert not re.search(r'(?:src|href)="(?!#)|@import|url\((?!#)', page), "the page needs something else"
    return done.returncode, json.loads(done.stdout)


def summary(data: Path) -> Json:
    found: Json = json.loads((data.parent / "out" / "summary.json").read_text())
    return found


def worse(told: Json) -> set[str]:
    """Quality endpoints that name B."""
    return {name for name, says in told["verdicts"].items() if says == "inferior"}


def test_engines_that_are_alike_are_not_told_apart(scene: Scene, tmp_path: Path) -> None:
    data = calls_file(tmp_path, tools=100, sums=100)
    assert run(scene, data, "--null").returncode == 0
    status, told = report(data, "equivalent:schema_accuracy@0.05", "not_inferior:greedy_agreement@0.05")
    assert (status, told["met"]) == (0, True)
    assert worse(told) == set()
    assert told["failed_checks"] == {}
    assert told["verdicts"]["tool_call_f1"] == "equivalent"
    keys = summary(data)["arms"]["b"]["vendor_verifier"]
    assert (keys["success_count"], keys["finish_tool_calls"], keys["finish_stop"]) == (400, 200, 200)
    assert (keys["schema_accuracy"], keys["tool_call_f1"]) == (1.0, 1.0)
    assert [each["name"] for each in summary(data)["run"]["replicas"]["b"]] == ["b"]


def test_a_tool_parser_that_is_off_is_named(scene: Scene, tmp_path: Path) -> None:
    """Calls stay in the text, in a form that the gateway cannot mend either."""
    data = calls_file(tmp_path, *["call_cut_short,only=b"] * 60, tools=60, sums=60)
    assert run(scene, data).returncode == 0
    status, told = report(data, "not_inferior:tool_call_f1@0.03")
    assert (status, told["met"]) == (1, False)
    assert {"tool_call_f1", "tool_call_rate", "clean_rate"} <= worse(told)
    assert not {"success_rate", "nonempty_rate", "json_rate"} & worse(told)
    assert told["failed_checks"]["b: marker_leaks"] == 60
    assert not [name for name in told["failed_checks"] if name.startswith("a: ")]
    assert told["verdicts"]["schema_accuracy"] == "undecided: an arm made no tool call"


def test_calls_that_do_not_fit_their_schema_are_named(scene: Scene, tmp_path: Path) -> None:
    faults = [("undeclared_tool,only=b" if number % 4 == 0 else "") for number in range(80)]
    data = calls_file(tmp_path, *faults, tools=80, sums=4)
    assert run(scene, data).returncode == 0
    status, told = report(data, "equivalent:schema_accuracy@0.01")
    assert status == 1
    assert "schema_accuracy" in worse(told)
    assert not {"tool_call_f1", "tool_call_rate", "clean_rate", "success_rate"} & worse(told)
    assert told["failed_checks"]["b: undeclared_tools"] == told["failed_checks"]["b: invalid_tool_calls"] == 20
    keys = summary(data)["arms"]["b"]["vendor_verifier"]
    assert (keys["schema_validation_error_count"], keys["schema_accuracy"]) == (20, 0.75)


def test_empty_answers_are_named(scene: Scene, tmp_path: Path) -> None:
    """One in twenty."""
    faults = [("null_content,only=b" if number % 20 == 0 else "") for number in range(300)]
    data = calls_file(tmp_path, *faults, tools=0, sums=300)
    assert run(scene, data).returncode == 0
    _, told = report(data)
    assert "nonempty_rate" in worse(told)
    assert not {"success_rate", "clean_rate"} & worse(told)
    assert told["failed_checks"] == {"b: empty_answers": 15}


def test_calls_that_fail_are_named(scene: Scene, tmp_path: Path) -> None:
    faults = [("error_400,only=b" if number % 10 == 0 else "") for number in range(200)]
    data = calls_file(tmp_path, *faults, tools=0, sums=200)
    assert run(scene, data).returncode == 0
    _, told = report(data)
    assert worse(told) == {"success_rate"}
    assert told["failed_checks"] == {"b: errors": 20}


def test_an_engine_that_takes_thirty_milliseconds_a_token_is_named(scene: Scene, tmp_path: Path) -> None:
    """Against none at all: no busy machine hides this."""
    data = calls_file(tmp_path, tools=0, sums=60)
    done = run(scene, data, "--model", "pace", arms=("fast", "slow"))
    assert done.returncode == 0, done.stderr
    status, told = report(data, "not_inferior:total_p50")
    assert status == 1
    for name in ("total_p50", "time_per_output_token_p50"):
        assert told["verdicts"][name] == "slower"
    assert worse(told) == set()
    arms = summary(data)["arms"]
    assert arms["b"]["quantiles"]["time_per_output_token_p50"]["value"] >= 0.025


def test_a_wrong_requirement_is_no_verdict(tmp_path: Path) -> None:
    done = moegate("compare", "report", str(tmp_path), "--require", "equivalent:schema_acuracy", folder=tmp_path)
    assert done.returncode == 2
    assert "no endpoint is named 'schema_acuracy'; there is schema_accuracy" in done.stderr


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    done = moegate("compare", "report", str(tmp_path), folder=tmp_path)
    assert done.returncode == 2
    assert "holds no run" in done.stderr
