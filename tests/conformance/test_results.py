"""Results are kept by engine and told in a table: a pass for what passed, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backends.case import (
    CASES,
    REFUSALS,
    Case,
    Declaration,
    Feature,
    Need,
    NotShown,
    Result,
    Status,
    run,
)
from tests.conformance.backends.target import Target
from tests.conformance.results import load, save
from tests.conformance.table import Table

SILENT: Any = None


def target(**changes: Any) -> Target:
    return replace(Target(engine="mine", model="m", clients=SILENT, declaration=Declaration()), **changes)


def case_of(check: Any, *wants: Feature | Need) -> Case:
    features = frozenset(want for want in wants if isinstance(want, Feature))
    return Case("group.a_case", check, features, frozenset(want for want in wants if isinstance(want, Need)))


def passes(_: Target) -> None:
    return


def fails(_: Target) -> None:
    raise AssertionError("the answer was\nwrong")


def says_nothing(_: Target) -> None:
    raise NotShown("the model said nothing")


@pytest.mark.parametrize(
    ("check", "status", "reason"),
    [
        (passes, Status.PASS, ""),
        (fails, Status.FAIL, "AssertionError: the answer was wrong"),
        (says_nothing, Status.NOT_SHOWN, "the model said nothing"),
    ],
)
def test_how_a_case_ends(check: Any, status: Status, reason: str) -> None:
    assert (
        run(case_of(check), target()) == Result("mine", "group.a_case", status, reason, None) or status is Status.FAIL
    )
    result = run(case_of(check), target())
    assert (result.status, result.reason) == (status, reason)


def test_a_case_whose_needs_are_not_met_is_not_run() -> None:
    assert run(case_of(fails, Need.DOOR), target()).status is Status.NOT_RUN


def test_what_is_lacking_must_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = target(declaration=Declaration({Feature.TOOLS: "it has none"}))
    monkeypatch.setitem(REFUSALS, Feature.TOOLS, passes)
    assert run(case_of(fails, Feature.TOOLS), lacking) == Result(
        "mine", "group.a_case", Status.UNSUPPORTED, "it has none"
    )
    monkeypatch.setitem(REFUSALS, Feature.TOOLS, fails)
    result = run(case_of(passes, Feature.TOOLS), lacking)
    assert result.status is Status.FAIL
    assert result.reason.startswith("it has none, but that is not told")


def test_every_feature_has_its_refusal() -> None:
    assert set(REFUSALS) == set(Feature)


def test_a_known_failure_stays_one() -> None:
    known = target(declaration=Declaration(known={"group.a_case": "a fault of its own"}))
    result = run(case_of(fails), known)
    assert (result.status, result.reason) == (Status.FAIL, "a fault of its own")


def test_a_run_replaces_what_was_known_of_its_engines_only(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    save(file, [Result("a", "x", Status.PASS), Result("b", "x", Status.FAIL, "why")], {"a": "a 1.0"})
    save(file, [Result("a", "y", Status.NOT_RUN, "needs z")], {"a": "a 2.0"})
    assert load(file) == {
        "a": {"about": "a 2.0", "cases": {"y": {"status": "not run", "reason": "needs z"}}},
        "b": {"about": "", "cases": {"x": {"status": "fail", "reason": "why"}}},
    }


def test_the_table_counts_and_gives_reasons(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    first, second, third, *_ = CASES
    save(
        file,
        [
            Result("a", first, Status.PASS),
            Result("a", second, Status.FAIL, "it | broke"),
            Result("a", third, Status.UNSUPPORTED, "no route"),
        ],
        {},
    )
    summary, full = Table(file).summary(), Table(file).full()
    assert f"1 pass, 1 **fail**, 1 unsupported, {len(CASES) - 3} not run |" in summary
    assert f"- **fail**, a: `{second}`: it \\| broke" in summary
    assert f"- unsupported, a: `{third}`: no route" in summary
    assert "| all | 1 pass, 1 **fail**, 1 unsupported |" in Table(file).summary(ran=True)
    assert f"| {CASES[first].group}: {CASES[first].title} | pass |" in full
    assert len(full.splitlines()) == 2 + len(CASES)
