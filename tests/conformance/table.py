"""Writes the conformance table as Markdown, from a run's results: `python -m tests.conformance.table FILE [--full | --ran]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import tests.conformance.backends.cases  # noqa: F401 - registers them
from tests.conformance.backends.case import CASES, Case, Result, Status
from tests.conformance.results import load, results_of

MARKS = {
    Status.PASS: "pass",
    Status.FAIL: "**fail**",
    Status.UNSUPPORTED: "unsupported",
    Status.NOT_SHOWN: "not shown",
    Status.NOT_RUN: "not run",
}


class Table:
    """The results of several engines."""

    def __init__(self, file: Path) -> None:
        found = load(file)
        self.engines = list(found)
        self.about = {name: str(entry["about"]) for name, entry in found.items()}
        self._results = {
            (name, result.case): result for name, entry in found.items() for result in results_of(entry, name)
        }

    def result(self, engine: str, case: Case) -> Result:
        """How a case ended on an engine."""
        return self._results.get((engine, case.name), Result(engine, case.name, Status.NOT_RUN))

    def summary(self, *, ran: bool = False) -> str:
        """One row a group of cases, and below it every failure and everything unsupported with its reason.

        Args:
            ran: leave out the cases that ran on none of the engines; those that need the scripted engine's door never do.
        """
        shown = [case for case in CASES.values() if not ran or self._ran(case)]
        groups = {case.group: [each for each in shown if each.group == case.group] for case in shown}
        rows = [[group, *(self._counted(engine, cases) for engine in self.engines)] for group, cases in groups.items()]
        rows.append(["all", *(self._counted(engine, shown) for engine in self.engines)])
        return "\n".join([markdown(["cases", *self.engines], rows), "", *self._reasons()])

    def _ran(self, case: Case) -> bool:
        return any(self.result(engine, case).status is not Status.NOT_RUN for engine in self.engines)

    def _counted(self, engine: str, cases: Sequence[Case]) -> str:
        """For example `7 pass, 1 fail`; only what there is."""
        counts = {status: sum(self.result(engine, case).status is status for case in cases) for status in Status}
        return ", ".join(f"{count} {MARKS[status]}" for status, count in counts.items() if count)

    def _reasons(self) -> Iterable[str]:
        for status in (Status.FAIL, Status.UNSUPPORTED, Status.NOT_SHOWN):
            found: dict[tuple[str, str], list[str]] = {}
            for engine in self.engines:
                for case in CASES.values():
                    result = self.result(engine, case)
                    if result.status is status:
                        found.setdefault((engine, result.reason), []).append(case.name)
            for (engine, reason), names in found.items():
                listed = ", ".join(f"`{name}`" for name in names[:4]) + (
                    f" and {len(names) - 4} more" if len(names) > 4 else ""
                )
                yield f"- {MARKS[status]}, {engine}: {listed}: {escaped(reason)}"

    def full(self) -> str:
        """One row a case."""
        rows = [
            [f"{case.group}: {case.title}", *(MARKS[self.result(engine, case).status] for engine in self.engines)]
            for case in CASES.values()
        ]
        described = [f"- {name}: {text}" for name, text in self.about.items() if text]
        return "\n".join([markdown(["case", *self.engines], rows), "", *described])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escaped(text: str) -> str:
    """A reason in one line, with nothing that Markdown would read."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.table", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--full", action="store_true", help="one row a case")
    parser.add_argument("--ran", action="store_true", help="leave out the cases that ran on none of the engines")
    options = parser.parse_args()
    table = Table(options.file)
    sys.stdout.write((table.full() if options.full else table.summary(ran=options.ran)) + "\n")


if __name__ == "__main__":
    main()
