"""Measures what a call and a chunk cost when there are more streams, connections, replicas, keys and bytes; it judges nothing.

python -m tests.performance.growth [--quick] [--targets moegate,nginx] [--axes streams,keys]
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tests.performance.files import allow_files
from tests.performance.growth_axes import AXES, Axis, Growth, as_json, grown
from tests.performance.machine import describe
from tests.performance.measure import Plan
from tests.performance.pages import RESULTS, on_what, stem, table, today, write
from tests.performance.plots import Axes, lines
from tests.performance.starters import STARTERS
from tests.performance.targets import UnavailableError

USUAL = ("moegate", "moegate-keyed", "nginx")
PLAN = replace(Plan(), rounds=3)
QUICK = replace(PLAN, rounds=1, call_seconds=1.5, stream_seconds=2.0, idle_seconds=0.5, warmup_seconds=0.5)
KIB = 1024


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = [axis.name.split()[0] for axis in AXES]
    parser = argparse.ArgumentParser(prog="growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="for a look; not for a claim")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--targets", default=",".join(USUAL), help=f"comma-separated, from: {', '.join(STARTERS)}")
    parser.add_argument("--axes", default=",".join(names), help=f"comma-separated, from: {', '.join(names)}")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    unknown = {*options.targets.split(",")} - {*STARTERS} | {*options.axes.split(",")} - {*names}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def say(text: str) -> None:
    """Show progress on stderr, so that stdout is the page alone."""
    sys.stderr.write(f"[growth] {text}\n")
    sys.stderr.flush()


def wanted(axis: Axis, target: str) -> bool:
    """Tell whether a target is measured along an axis: keys only of those that keep keys, which are measured by nothing else."""
    return target in axis.only if axis.only else target not in {name for each in AXES for name in each.only}


def run(options: argparse.Namespace, plan: Plan) -> tuple[list[Growth], dict[str, str]]:
    """Measure all that was asked for; with it comes what could not be."""
    found, skipped = [], {}
    for axis in AXES:
        if axis.name.split()[0] not in options.axes.split(","):
            continue
        for name in options.targets.split(","):
            if not wanted(axis, name):
                continue
            try:
                found.append(grown(axis, name, STARTERS[name], plan, say))
            except UnavailableError as reason:
                say(f"{name}, {axis.name}: SKIPPED: {reason}")
                skipped[f"{name}, {axis.name}"] = str(reason)
    return found, skipped


def preface(plan: Plan, machine: Mapping[str, object]) -> str:
    """Say what was measured, on what, and how to read it."""
    return (
        f"{on_what(machine)}. Medians of {plan.rounds} rounds that go through the levels in turn, lowest and highest in "
        f"brackets. Calls: {plan.prompt_bytes}-byte prompt where it is not the prompt that grows, {plan.call_connections} "
        "keep-alive clients in a closed loop where it is not they (4 for prompts). Streams: as many chunks a second in total "
        "at each level. *Times*: the highest level's cost over the lowest one's, 1 is flat. *One more*: the slope of the line "
        "through the medians. What the bytes themselves cost shows in the row of nginx."
    )


def markdown(found: Sequence[Growth], skipped: Mapping[str, str], plan: Plan, machine: Mapping[str, object]) -> str:
    """Write the page."""
    parts = [
        f"# Growth, {today()}",
        preface(plan, machine),
    ]
    for axis in AXES:
        rows = [
            [
                each.target,
                *(each.spread(level).text(1) for level in axis.levels),
                f"{each.times:.2f}",
                f"{each.slope_ns:+,.1f} ns a {axis.unit}",
                str(each.errors),
            ]
            for each in found
            if each.axis == axis
        ]
        if rows:
            header = [axis.figure, *(f"{level:,}" for level in axis.levels), "times", "one more", "errors"]
            parts.append(f"## {axis.name}\n\n" + table(header, rows))
    memory = [each for each in found if each.bytes_per_stream]
    if memory:
        cells = [[each.target, f"{max(each.bytes_per_stream) / KIB:,.1f}"] for each in memory]
        text = f"What {memory[0].axis.levels[-1]:,} open streams add to the process (PSS), the highest round."
        parts.append(f"## Memory a stream\n\n{text}\n\n" + table(["target", "KiB a stream"], cells))
    if skipped:
        parts.append("## Skipped\n\n" + "\n".join(f"- {name}: {reason}" for name, reason in skipped.items()))
    return "\n\n".join(parts) + "\n"


def plots(found: Sequence[Growth]) -> dict[str, str]:
    """Draw a chart an axis."""
    drawn = {}
    for axis in AXES:
        series = {
            each.target: [(float(level), each.spread(level).middle) for level in axis.levels]
            for each in found
            if each.axis == axis
        }
        svg = lines(f"{axis.figure} by {axis.name}", series, Axes(axis.name, axis.figure, logarithmic=True))
        if svg:
            drawn[axis.name.split()[0]] = svg
    return drawn


def main() -> int:
    """Run, print the page, keep it with its JSON and its plots."""
    options = arguments()
    allow_files()
    plan = QUICK if options.quick else PLAN
    plan = replace(plan, rounds=options.rounds or plan.rounds)
    machine = describe()
    found, skipped = run(options, plan)
    everything = {"machine": machine, "skipped": skipped, "growth": [as_json(each) for each in found]}
    name = stem("growth-quick" if options.quick else "growth")
    page = markdown(found, skipped, plan, machine)
    sys.stdout.write(write(options.out, name, page, everything, plots(found)))
    say(f"written: {options.out / name}.md, .json and plots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
