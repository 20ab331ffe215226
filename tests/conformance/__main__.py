"""Puts the engine behind any running gateway to all cases: `python -m tests.conformance --help`; starts nothing.

For engines of others: put yours behind a model's name of its own, say what it lacks, and read the table.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import tests.conformance.backends.cases  # noqa: F401 - registers them
from tests.conformance.backends.case import CASES, Declaration, Feature, Need, Status, run
from tests.conformance.backends.declarations import live_declaration
from tests.conformance.backends.target import Target, clients
from tests.conformance.results import save


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway, without /v1")
    parser.add_argument("--key", default=os.environ.get("MOEGATE_KEY", ""), help="a key of its; MOEGATE_KEY by default")
    parser.add_argument("--model", required=True, help="a model with only this engine behind it")
    parser.add_argument("--alias", action="append", default=[], help="another name of the model")
    parser.add_argument("--engine", required=True, help="the backend's kind, as x-moegate-backend says it")
    parser.add_argument(
        "--lacks",
        action="append",
        default=[],
        metavar="FEATURE=REASON",
        help=f"one of {', '.join(Feature)}; repeatable",
    )
    parser.add_argument("--thinks", action="store_true", help="the model thinks when it is asked to")
    parser.add_argument("--seeds", action="store_true", help="the engine's seeds repeat")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--results", type=Path, help="a file to keep the results in, for tests.conformance.table")
    return parser.parse_args()


def declaration(options: argparse.Namespace) -> Declaration:
    """What the engine says of itself: what we know of its kind, and what the command line adds."""
    known = live_declaration(options.engine)
    told = dict(each.split("=", 1) if "=" in each else (each, "declared") for each in options.lacks)
    lacks = {**known.lacks, **{Feature(name): reason for name, reason in told.items()}}
    return Declaration(lacks, known.known, known.vague, known.refuses)


def main() -> int:
    """Run the cases; 1 if one of them fails."""
    options = arguments()
    gives = {Need.THINKING: options.thinks, Need.SEED: options.seeds}
    with clients(options.url.rstrip("/"), options.key) as asking:
        target = Target(
            engine=options.engine,
            model=options.model,
            aliases=tuple(options.alias),
            clients=asking,
            declaration=declaration(options),
            gives=frozenset(need for need, given in gives.items() if given),
        )
        results = []
        for case in CASES.values():
            if options.only in case.name:
                results.append(run(case, target))
                last = results[-1]
                sys.stdout.write(f"{last.status.value:12} {case.name}{': ' + last.reason if last.reason else ''}\n")
                sys.stdout.flush()
    if options.results:
        save(options.results, results, {options.engine: f"{options.model} at {options.url}"})
    counts = {status: sum(result.status is status for result in results) for status in Status}
    sys.stdout.write(", ".join(f"{count} {status.value}" for status, count in counts.items()) + "\n")
    return int(counts[Status.FAIL] > 0)


if __name__ == "__main__":
    sys.exit(main())
