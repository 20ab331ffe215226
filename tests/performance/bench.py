"""Measures moegate beside a direct run and its peers in interleaved rounds; it asserts nothing and installs nothing."""

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.performance.machine import describe
from tests.performance.measure import QUICK, Meter, Plan
from tests.performance.pages import RESULTS, stem, today, write
from tests.performance.report import Results, markdown, plots
from tests.performance.starters import STARTERS, USUAL
from tests.performance.startups import start_timed
from tests.performance.targets import Place, UnavailableError, pin_prefix
from tests.support.scripted_engine.process import scripted_engine


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes, for a look; not for a claim")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (5, or 2 when quick)")
    parser.add_argument("--targets", default=",".join(USUAL), help=f"comma-separated, from: {', '.join(STARTERS)}")
    parser.add_argument("--streams", type=int, help="paced streams at a time (200)")
    parser.add_argument("--pin", action="store_true", help="target on core 0; engine and generator on core 1")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.names = list(dict.fromkeys(["direct", *options.targets.split(",")]))
    unknown = [name for name in options.names if name not in STARTERS]
    if unknown:
        parser.error(f"unknown target {unknown[0]!r}; known: {', '.join(STARTERS)}")
    return options


def say(text: str) -> None:
    """Show progress on stderr, so that stdout is the page alone."""
    sys.stderr.write(f"[bench] {text}\n")
    sys.stderr.flush()


def chosen_plan(options: argparse.Namespace) -> Plan:
    """Apply the command line to the defaults."""
    plan = QUICK if options.quick else Plan()
    changes = {key: value for key in ("rounds", "streams") if (value := getattr(options, key)) is not None}
    return replace(plan, **changes)


def run(options: argparse.Namespace) -> tuple[Results, Meter]:
    """Start everything, measure round by round, end everything."""
    plan = chosen_plan(options)
    results = Results(today(), plan, describe(), options.pin)
    target_prefix = pin_prefix(0 if options.pin else None)
    kit_prefix = pin_prefix(1 if options.pin else None)
    with ExitStack() as stack:
        pace = ("--timestamps", "--chunk-interval-ms", str(plan.chunk_interval_ms))
        engine = stack.enter_context(scripted_engine(*pace, prefix=kit_prefix))
        meter = Meter(plan, engine, kit_prefix)
        for name in options.names:
            say(f"starting {name}")
            try:
                target, times = start_timed(
                    STARTERS[name], lambda folder: Place(engine, folder, target_prefix), plan.starts, stack
                )
            except UnavailableError as reason:
                say(f"{name} SKIPPED: {reason}")
                results.skipped[name] = str(reason)
                continue
            results.targets[name] = target
            results.startups[name] = times
            results.rounds[name] = []
            meter.warm_up(target)
        for number in range(1, plan.rounds + 1):
            for name, target in results.targets.items():
                say(f"round {number} of {plan.rounds}: {name}")
                figures = meter.round(target)
                results.rounds[name].append(figures)
                say(f"  {figures.cpu_per_call:,.0f} µs a call, {figures.cpu_per_chunk:,.1f} µs a chunk")
    return results, meter


def main() -> int:
    """Run, print the page, keep it with its JSON."""
    options = arguments()
    results, meter = run(options)
    name = stem("quick" if options.quick else "")
    sys.stdout.write(write(options.out, name, markdown(results), results.as_json(meter.raw), plots(results)))
    say(f"written: {options.out / name}.md, .json and plots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
