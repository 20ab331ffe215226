"""An experiment's JSON for people: a table for a terminal, Markdown for a report. Counts nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
_LIST_HEADS = ("EXPERIMENT", "MODEL", "UNIT", "STATE", "CALLS", "REASON")
_ARM_HEADS = (
    "arm",
    "state",
    "weight",
    "calls",
    "fell back",
    "success",
    "valid tool calls",
    "ttft p50, p95",
    "total p50, p95",
)
_VERDICT_HEADS = ("endpoint", "verdict", "effect", "interval", "margin", "calls", "method")


def list_lines(found: Sequence[Json]) -> list[str]:
    """All experiments, a line each."""
    return aligned(_LIST_HEADS, [_row(each) for each in found])


def _row(found: Json) -> tuple[str, ...]:
    gone = [f"{arm} rolled back: {why}" for arm, why in found["rolled_back"].items()]
    calls = ", ".join(f"{arm} {count}" for arm, count in found["calls"].items())
    reasons = "; ".join([text for text in (found["reason"], *gone) if text])
    return (found["name"], found["model"], found["unit"], found["state"], calls, reasons)


def show_lines(found: Json) -> list[str]:
    """One experiment for a terminal."""
    lines = [f"{found['name']}: {found['state']}, of {found['model']}, by {found['unit']}", *_notes(found), ""]
    lines += aligned([head.upper() for head in _ARM_HEADS], [_arm(arm) for arm in found["arms"]])
    for each in found["comparisons"]:
        lines += ["", f"{each['b']} against {each['a']}"]
        lines += aligned([head.upper() for head in _VERDICT_HEADS[:-1]], [_verdict(v)[:-1] for v in each["verdicts"]])
    return lines


def report(found: Json, made: str) -> str:
    """One experiment as Markdown; `made` says when."""
    lines = [
        f"# Experiment {found['name']}",
        "",
        f"{found['state']}, of {found['model']}, by {found['unit']}; {made}.",
        *(f"{note}." for note in _notes(found)),
        "",
        *_table(_ARM_HEADS, [_arm(arm) for arm in found["arms"]]),
    ]
    for each in found["comparisons"]:
        lines += ["", f"## {each['b']} against {each['a']}", ""]
        lines += _table(_VERDICT_HEADS, [_verdict(verdict) for verdict in each["verdicts"]])
        lines += ["", *(f"- {verdict['text']}" for verdict in each["verdicts"])]
        warnings = dict.fromkeys(text for verdict in each["verdicts"] for text in verdict["warnings"])
        lines += [f"- **{text}**" for text in warnings]
    return "\n".join(lines) + "\n"


def _notes(found: Json) -> Iterator[str]:
    if found["reason"]:
        yield found["reason"]
    for arm, why in found["rolled_back"].items():
        yield f"arm {arm} was rolled back: {why}"
    if found["shares"] is not None:
        yield found["shares"]["text"]
    if found["skipped"]:
        yield "did not join: " + ", ".join(f"{count} ({why})" for why, count in found["skipped"].items())
    if found["dropped"]:
        yield f"{found['dropped']} calls were not counted, as too many came at once"


def _arm(arm: Json) -> tuple[str, ...]:
    def rate(name: str) -> str:
        return f"{arm['rates'][name]['value']:.1%}" if name in arm["rates"] else "-"

    def times(name: str) -> str:
        found = arm["times"].get(name)
        return "-" if found is None else f"{seconds(found['p50'])}, {seconds(found['p95'])}"

    return (
        arm["name"],
        arm["state"].replace("_", " "),
        f"{arm['weight']:g}",
        f"{arm['calls']:,}",
        f"{arm['fell_back']:,}",
        rate("success_rate"),
        rate("schema_accuracy"),
        times("ttft"),
        times("total"),
    )


def _verdict(verdict: Json) -> tuple[str, ...]:
    as_ratio = verdict["scale"] == "ratio"

    def number(value: float | None) -> str:
        if value is None:
            return "-"
        return f"x{value:.3f}" if as_ratio else f"{100 * value:+.2f} pp"

    interval = "-"
    if verdict["effect"] is not None:
        interval = f"{number(verdict['lower'])} to {number(verdict['upper'])}"
    margin = f"{verdict['margin']:.0%}" if as_ratio else f"{100 * verdict['margin']:g} pp"
    calls = f"{verdict['calls']:,}"
    return (
        verdict["endpoint"], verdict["says"], number(verdict["effect"]), interval, margin, calls, verdict["method"]
    )  # fmt: skip


def seconds(value: float | None) -> str:
    """A time for people; one that is among the failures has none."""
    if value is None:
        return "never"
    return f"{value * 1_000:.0f} ms" if value < 1 else f"{value:.2f} s"


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A line per row under a line of heads."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows)]
