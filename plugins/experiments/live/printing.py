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
        lines += _verdict_lines(each["verdicts"])
        if each["mix"]["weights"]:
            lines += ["", mix_note(each["mix"]), *_verdict_lines(each["mix"]["verdicts"])]
    if found["shadow"] is not None:
        lines += ["", *shadow_notes(found["shadow"])]
        for each in found["shadow"]["comparisons"]:
            lines += ["", f"{each['b']} against {each['a']}, the same calls", *pair_notes(each)]
            lines += _verdict_lines(each["verdicts"])
    return lines


def _verdict_lines(verdicts: Sequence[Json]) -> list[str]:
    return aligned([head.upper() for head in _VERDICT_HEADS[:-1]], [_verdict(each)[:-1] for each in verdicts])


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
        lines += ["", f"## {each['b']} against {each['a']}", "", *_verdict_table(each["verdicts"])]
        if each["mix"]["weights"]:
            lines += ["", f"{mix_note(each['mix'])}.", "", *_verdict_table(each["mix"]["verdicts"])]
    if found["shadow"] is not None:
        lines += ["", "## Shadow", "", *(f"{note}." for note in shadow_notes(found["shadow"]))]
        for each in found["shadow"]["comparisons"]:
            lines += ["", f"### {each['b']} against {each['a']}, the same calls", ""]
            lines += [*(f"- {note}" for note in pair_notes(each)), "", *_verdict_table(each["verdicts"])]
    return "\n".join(lines) + "\n"


def _verdict_table(verdicts: Sequence[Json]) -> list[str]:
    lines = _table(_VERDICT_HEADS, [_verdict(each) for each in verdicts])
    lines += ["", *(f"- {each['text']}" for each in verdicts)]
    warnings = dict.fromkeys(text for each in verdicts for text in each["warnings"])
    return lines + [f"- **{text}**" for text in warnings]


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


def mix_note(mix: Json) -> str:
    """What calls were laid side by side."""
    strata = "; ".join(f"{weight:.0%} {name}" for name, weight in mix["weights"].items())
    note = f"at one mix of calls: {strata}"
    return f"{note} ({mix['left_out']:,} calls of other kinds left out)" if mix["left_out"] else note


def shadow_notes(shadow: Json) -> list[str]:
    """What became of the copies, a line for each arm."""
    lines = [f"{shadow['calls']:,} calls were to be copied"]
    if shadow["left"]:
        lines[0] += f"; the clients of {shadow['left']:,} left before their answers were whole"
    for arm in shadow["arms"]:
        if arm["copies"]:
            ends = ", ".join(f"{count:,} {how}" for how, count in sorted(arm["copies"].items()))
            figures = [ends]
            if "schema_accuracy" in arm["rates"]:
                figures.append(f"valid tool calls {arm['rates']['schema_accuracy']['value']:.1%}")
            clocks = [clock for clock in ("ttft", "total") if clock in arm["times"]]
            figures += [f"{clock} p50 {seconds(arm['times'][clock]['p50'])}" for clock in clocks]
            lines.append(f"copies to {arm['name']}: {'; '.join(figures)}")
    null = shadow["null"]
    return lines + ([f"{null['a']} beside itself: {', '.join(pair_notes(null))}"] if null is not None else [])


def pair_notes(pairs: Json) -> list[str]:
    """What two answers to the same calls have in common."""
    greedy, chances = pairs["greedy"], pairs["greedy"]["log_probabilities"]
    notes = [f"{pairs['pairs']:,} pairs", f"{greedy['alike']:,} of {greedy['pairs']:,} greedy pairs say the same"]
    if greedy["mean_same_characters"] is not None:
        notes[-1] += f"; the others part after {greedy['mean_same_characters']:.0f} characters"
    notes.append(f"{pairs['prompts_differ']:,} of {pairs['prompts']:,} prompts have another number of tokens")
    if chances["mean_difference"] is not None:
        mean, most = chances["mean_difference"], chances["largest_difference"]
        notes.append(f"log-probabilities differ by {mean:.3g} nats, {most:.3g} at most")
        notes.append(
            f"the likeliest token is the same at {chances['top_agreement']:.1%} of {chances['tokens']:,} places"
        )
    return notes


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
