"""The page and the summary: in one file, in anyone's words escaped, whatever is missing; and nothing heavy in a gateway."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plugins.experiments.compare.page import REPORT, write_report
from plugins.experiments.compare.requirements import parse_requirement
from plugins.experiments.compare.results import Checks, Result, ToolCall
from plugins.experiments.compare.summary import SUMMARY, summarise, write_summary
from tests.unit.plugins.experiments.compare.made import answer, result, write_run

EVIL = '</pre><script>alert("x")</script>'


def written(folder: Path, results: list[Result], *required: str, **more: Any) -> str:
    write_run(folder, results, **more)
    summary, observed = summarise(folder, [parse_requirement(each) for each in required])
    write_summary(folder, summary)
    write_report(folder, summary, observed)
    return (folder / REPORT).read_text()


def many(count: int = 100) -> list[Result]:
    call = answer(text="", tool_calls=[ToolCall("look", "{}")], finish_reason="tool_calls", replica="b")
    found = []
    for number in range(count):
        more: dict[str, Any] = {"reference": "tool_calls", "declares_tools": True}
        valid = Checks(schema_valid=True)
        found.append(result("a", number, said=call, checks=valid, **more))
        if number % 10 == 0:
            found.append(result("b", number, said=answer(EVIL), **more))
        else:
            found.append(result("b", number, said=call, checks=valid, **more))
    return found


def test_the_page_needs_no_other_file_and_runs_nothing(tmp_path: Path) -> None:
    page = written(tmp_path, many(), "equivalent:schema_accuracy@0.05")
    assert "<script" not in page
    assert "&lt;script&gt;" in page, "an answer's words are shown as they are"
    assert not re.search(r'(?:src|href)="(?!#)|@import|url\((?!#)', page)
    for figure in ("ttft", "gaps", "over_time", "rates", "divergence"):
        assert f'<figure id="{figure}"><svg' in page
    assert "equivalent:schema_accuracy@0.05" in page


def test_charts_take_their_colours_from_the_page_and_keep_their_ids_apart(tmp_path: Path) -> None:
    page = written(tmp_path, many())
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) == 5
    assert not re.search(r"#0a000\d", page)
    colours = {each for svg in drawn for each in re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)}
    assert colours <= {"var(--a)", "var(--b)", "var(--ink)", "var(--faint)", "none"}
    ids = [each for svg in drawn for each in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    referred = {each for svg in drawn for each in re.findall(r'(?:url\(#|href="#)([^")]+)', svg)}
    assert referred <= set(ids)


def test_a_run_of_one_pair_has_a_page_too(tmp_path: Path) -> None:
    page = written(tmp_path, [result("a"), result("b")])
    assert "undecided" in page


def test_a_run_in_which_all_failed_has_a_page_too(tmp_path: Path) -> None:
    broken = answer(text="", error="timed_out", ttft_seconds=None, gaps_seconds=[], finish_reason=None)
    results = [result(arm, n, said=broken) for n in range(30) for arm in ("a", "b")]  # type: ignore[arg-type]
    page = written(tmp_path, results)
    assert "timed_out 30" in page


def test_the_summary_has_the_keys_of_the_vendor_verifier(tmp_path: Path) -> None:
    written(tmp_path, many())
    told = json.loads((tmp_path / SUMMARY).read_text())
    assert told["arms"]["b"]["vendor_verifier"] == {
        "success_count": 100,
        "failure_count": 0,
        "finish_stop": 10,
        "finish_tool_calls": 90,
        "finish_others": 0,
        "finish_others_detail": {},
        "schema_validation_error_count": 0,
        "successful_tool_call_count": 90,
        "schema_accuracy": 1.0,
        "tool_call_f1": pytest.approx(2 * 90 / (2 * 90 + 10)),
        "usage": {"prompt_tokens": 900, "completion_tokens": 400, "total_tokens": 1300},
    }


def test_a_run_that_is_not_over_says_so(tmp_path: Path) -> None:
    page = written(tmp_path, [result("a", 0), result("b", 0), result("a", 1)])
    assert "1 of 4 calls are not answered yet" in page


def test_answers_of_another_replica_are_told(tmp_path: Path) -> None:
    said = answer(replica="elsewhere")
    page = written(tmp_path, [result("a", 0), result("b", 0, said=said)])
    assert "pinned to b, were answered by elsewhere" in page


def test_a_gateway_that_serves_loads_none_of_it() -> None:
    code = (
        "import sys; from gateway.plugin_manager import load_plugins; load_plugins();"
        "print(*{name.split('.')[0] for name in sys.modules},"
        " *(name for name in sys.modules if name.startswith('plugins.experiments')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"numpy", "jsonschema", "referencing", "matplotlib", "PIL", "scipy"} & loaded
    assert {each for each in loaded if each.startswith("plugins.experiments")} == {
        "plugins.experiments",
        "plugins.experiments.compare",
        "plugins.experiments.compare.commands",
        "plugins.experiments.live",
        "plugins.experiments.live.commands",
        "plugins.experiments.live.printing",
        "plugins.experiments.live.settings",
        "plugins.experiments.live.tables",
    }
