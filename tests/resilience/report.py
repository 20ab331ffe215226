"""One row for each scenario, and the page they stand on; it judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.resilience.asking import Verdict
from tests.resilience.scene import MEBI, Scene

HEAD = (
    "| scenario | calls | right | recovered | errors, by code | left | MiB before, peak, after | files, tasks | seconds | |",
    "|---|---:|---:|---:|---|---:|---|---|---:|---|",
)
COLUMNS = 8  # between the name and what is to be said


@dataclass(frozen=True)
class Row:
    """What came of a scenario."""

    name: str
    cells: Sequence[str]
    problems: Sequence[str]

    def text(self) -> str:
        """As a row of the table."""
        return f"| {' | '.join((self.name, *self.cells))} |"


def row(name: str, scene: Scene, seconds: float) -> Row:
    """What is told of a scenario."""
    if scene.untried:
        return Row(name, (*("" for _ in range(COLUMNS)), f"**not tried**: {scene.untried}"), scene.problems)
    load, before, after = scene.load, scene.before, scene.after or scene.before
    errors = ", ".join(f"{number:,} {code}" for code, number in load.codes.most_common())
    memory = " ".join(f"{size / MEBI:.0f}" for size in (before.rss_bytes, scene.peak_bytes, after.rss_bytes))
    notes = "; ".join(scene.notes)
    cells = (
        f"{len(load.said) + load.left:,}",
        f"{load.count(Verdict.RIGHT):,}",
        f"{load.recovered:,}",
        errors or "none",
        f"{load.left:,}",
        memory,
        f"{after.files - before.files:+d}, {scene.tasks_after - scene.tasks:+g}",
        f"{seconds:.0f}",
        notes if not scene.problems else f"**{len(scene.problems)} PROBLEMS** {notes}",
    )
    return Row(name, cells, tuple(scene.problems))
