"""`make prove-resilience`: runs every scenario against one gateway and prints a table; exits with 1 if anything was wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from tests.resilience.report import HEAD, Row, row
from tests.resilience.scenarios import SCENARIOS
from tests.resilience.scene import scene
from tests.resilience.stage import stage

MINUTES = 10.0
INTERVAL_MS = 200.0

INTRODUCTION = """# Chaos, scripted

One gateway process lives through all of this; the engines behind it are scripted ones, on the same machine. What each scenario does
and what it expects: [../README.md](../README.md). `recovered`: calls that another replica served after a first one had failed.
`left`: streams that their clients left. Bold in the last column is what was not as it should be. Made by
`make prove-resilience ARGS="{arguments}"`.
"""


def say(text: str) -> None:
    """Tell how far it is, beside the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


async def run(options: argparse.Namespace) -> list[Row]:
    """Every scenario that was asked for, one after the other."""
    rows = []
    names = options.only or list(SCENARIOS)
    async with stage(seed=options.seed, small=options.small, minutes=options.minutes, interval_ms=INTERVAL_MS) as made:
        for number, name in enumerate(names, 1):
            say(f"{number}/{len(names)} {name}")
            began = time.monotonic()
            async with scene(made, say) as played:
                await SCENARIOS[name](played)
            rows.append(row(name, played, time.monotonic() - began))
            for problem in played.problems:
                say(f"  PROBLEM: {problem}")
    return rows


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="make prove-resilience", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(SCENARIOS), metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--small", action="store_true", help="few clients, for seconds, as `make test` does it")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long the many streams are held")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    options = parser.parse_args()
    rows = asyncio.run(run(options))
    page = "\n".join(
        (INTRODUCTION.format(arguments=" ".join(sys.argv[1:])), *HEAD, *(each.text() for each in rows), "")
    )
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)
    sys.stdout.write(page)
    return int(any(each.problems for each in rows))


if __name__ == "__main__":
    sys.exit(main())
