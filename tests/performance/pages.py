"""Writes what the kit's runs say: Markdown tables, the machine's line, files beside each other; it knows no figure."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write one table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def on_what(machine: Mapping[str, object]) -> str:
    """Say on what it was measured."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, moegate "
        f"{machine['moegate_commit']}; load average before: {machine['load_average_before']}"
    )


def today() -> str:
    """The date that stands on the page."""
    return datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def stem(kind: str = "") -> str:
    """The name that all files of a run share."""
    return datetime.now(tz=UTC).strftime("%Y-%m-%d-%H%M") + (f"-{kind}" if kind else "")


def write(out: Path, name: str, page: str, everything: object, plots: Mapping[str, str]) -> str:
    """Write page, JSON and plots; the page that comes back shows the plots that lie beside it."""
    out.mkdir(parents=True, exist_ok=True)
    for plot, svg in plots.items():
        (out / f"{name}-{plot}.svg").write_text(svg)
    if plots:
        page += "\n## Plots\n\n" + "\n".join(f"![{plot}]({name}-{plot}.svg)" for plot in plots) + "\n"
    (out / f"{name}.md").write_text(page)
    (out / f"{name}.json").write_text(json.dumps(everything, indent=1) + "\n")
    return page
