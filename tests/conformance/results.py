"""Keeps how cases ended, one file for all engines that were ever run; runs and prints nothing.

As a pytest plugin it writes what tests recorded as `conformance` into the file that MOEGATE_CONFORMANCE_RESULTS names, if it does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backends.case import Result, Status

VARIABLE = "MOEGATE_CONFORMANCE_RESULTS"
Json = dict[str, Any]
_FOUND = pytest.StashKey[dict[str, list[Result]]]()


def load(file: Path) -> Json:
    """What a file holds: per engine, how it is described and how each case ended."""
    return dict(json.loads(file.read_text())) if file.exists() else {}


def save(file: Path, results: Iterable[Result], about: Mapping[str, str]) -> None:
    """Put an engine's results in the place of its earlier ones; other engines keep theirs."""
    kept, fresh = load(file), {}
    for result in results:
        entry = fresh.setdefault(result.engine, {"about": about.get(result.engine, ""), "cases": {}})
        reason = {"reason": result.reason} if result.reason else {}
        entry["cases"][result.case] = {"status": result.status.value, **reason}
    kept |= fresh
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(name)}: {_entry(entry)}" for name, entry in sorted(kept.items())]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _entry(entry: Json) -> str:
    """One line a case, so that a change is seen for what it is."""
    cases = [f"  {json.dumps(name)}: {json.dumps(case)}" for name, case in sorted(entry["cases"].items())]
    return '{"about": ' + json.dumps(entry["about"]) + ', "cases": {\n' + ",\n".join(cases) + "\n}}"


def results_of(entry: Json, engine: str) -> list[Result]:
    """An engine's results as they were."""
    return [
        Result(engine, name, Status(case["status"]), case.get("reason", "")) for name, case in entry["cases"].items()
    ]


# -- pytest -----------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Begin."""
    config.stash[_FOUND] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Take what a test recorded."""
    yield
    if call.when == "call":
        for name, value in item.user_properties:
            if name == "conformance" and isinstance(value, Result):
                item.config.stash[_FOUND].setdefault(value.engine, []).append(value)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the file, if one was named."""
    file, found = os.environ.get(VARIABLE), session.config.stash[_FOUND]
    if file and found:
        about = session.config.stash.get(ABOUT, {})
        save(Path(file), [result for results in found.values() for result in results], about)


ABOUT = pytest.StashKey[dict[str, str]]()
"""Per engine, what was run: fixtures that start one say it here."""
