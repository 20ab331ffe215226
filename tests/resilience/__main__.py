"""`make prove-resilience`: runs every scenario against one gateway and prints a table; exits with 1 if anything was wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.resilience.real_engine import LAUNCHERS
from tests.resilience.real_stage import real_stage
from tests.resilience.report import HEAD, Row, row
from tests.resilience.scenarios import REAL_SCENARIOS, SCENARIOS, Scenario
from tests.resilience.scene import scene
from tests.resilience.scripted_stage import scripted_stage
from tests.resilience.stage import Stage

SCRIPTED, REAL = "scripted", "real"
PAIR = ("vllm", "llama_cpp")
MINUTES = 10.0
INTERVAL_MS = 200.0

INTRODUCTION = """# Chaos, {engines}

One gateway process lives through all of this; the engines behind it are {behind}, on the same machine. What each scenario does
and what it expects: [../README.md](../README.md). `recovered`: calls that another replica served after a first one had failed.
`left`: streams that their clients left. Bold in the last column is what was not as it should be. Made by
`make prove-resilience ARGS="{arguments}"`.
"""


def say(text: str) -> None:
    """Tell how far it is, beside the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@asynccontextmanager
async def chosen(options: argparse.Namespace) -> AsyncIterator[tuple[Stage, Mapping[str, Scenario]]]:
    """The stage that was asked for, and what is played on it."""
    if options.engines == REAL:
        async with real_stage(options.pair, seed=options.seed, small=options.small) as made:
            yield made, REAL_SCENARIOS
    else:
        size = {"small": options.small, "minutes": options.minutes, "interval_ms": INTERVAL_MS}
        async with scripted_stage(seed=options.seed, **size) as made:
            yield made, SCENARIOS


async def run(options: argparse.Namespace) -> list[Row]:
    """Every scenario that was asked for, one after the other."""
    rows = []
    async with chosen(options) as (made, scenarios):
        names = options.only or list(scenarios)
        for number, name in enumerate(names, 1):
            say(f"{number}/{len(names)} {name}")
            began = time.monotonic()
            async with scene(made, say) as played:
                try:
                    await scenarios[name](played)
                except Exception as error:  # noqa: BLE001 - the others are to be played, and this one shown
                    played.problems.append(f"it ended with {error!r}")
            rows.append(row(name, played, time.monotonic() - began))
            for problem in played.problems:
                say(f"  PROBLEM: {problem}")
    return rows


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="make prove-resilience", description=__doc__)
    parser.add_argument("--engines", choices=(SCRIPTED, REAL), default=SCRIPTED)
    parser.add_argument("--pair", nargs=2, choices=sorted(LAUNCHERS), default=PAIR, help="the real ones (%(default)s)")
    every = [*SCENARIOS, *(name for name in REAL_SCENARIOS if name not in SCENARIOS)]
    parser.add_argument("--only", nargs="+", choices=every, metavar="SCENARIO", help=", ".join(every))
    parser.add_argument("--small", action="store_true", help="few clients, for seconds, as `make test` does it")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long the many streams are held")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    options = parser.parse_args()
    rows = asyncio.run(run(options))
    behind = "scripted ones" if options.engines == SCRIPTED else f"{' and '.join(options.pair)}, serving k2-tiny"
    introduction = INTRODUCTION.format(engines=options.engines, behind=behind, arguments=" ".join(sys.argv[1:]))
    page = "\n".join((introduction, *HEAD, *(each.text() for each in rows), ""))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)
    sys.stdout.write(page)
    return int(any(each.problems for each in rows))


if __name__ == "__main__":
    sys.exit(main())
