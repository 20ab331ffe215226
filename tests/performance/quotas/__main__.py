"""Proves what quotas and ledger promise, on real processes; exits with 1 if a statement does not hold.

`python -m tests.performance.quotas [--only PART]… [--seed N]`; the parts are listed with `--help`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence

from tests.performance.quotas.crowd import Habits
from tests.performance.quotas.fairness import fairness
from tests.performance.quotas.judging import Judged, Statement
from tests.performance.quotas.spending import Run, Trouble, spend
from tests.performance.quotas.troubles import lose_both, lose_gateway, lose_valkey
from tests.performance.quotas.world import Plan, calendar, world
from tests.support.postgres import PostgresServer, postgres_server

BUDGET_TOKENS = 100_000
BUCKET = {"amount": 2_000, "every": "second", "burst": 60_000}
BUCKET_SECONDS = 20.0

CALENDAR = {"amount": BUDGET_TOKENS, **calendar()}
SLOW = {"token_ms": 30.0, "lease_seconds": 4.0}
LEAVING = 0.35

Part = tuple[Plan, Habits, Sequence[Trouble]]


async def _for_a_while(run: Run) -> None:
    await asyncio.sleep(BUCKET_SECONDS)


PARTS: dict[str, Part] = {
    "calendar": (Plan(limit=CALENDAR), Habits(), ()),
    "bucket": (Plan(limit=BUCKET), Habits(), (_for_a_while,)),
    "estimated": (Plan(limit=CALENDAR, exact=False), Habits(unlimited=0.2), ()),
    "leaving": (Plan(limit=CALENDAR), Habits(leaving=LEAVING), ()),
    "valkey": (Plan(limit=CALENDAR, persistent=True, **SLOW), Habits(), (lose_valkey,)),
    "valkey-empty": (Plan(limit=CALENDAR, **SLOW), Habits(), (lose_valkey,)),
    "gateway": (Plan(limit=CALENDAR, **SLOW), Habits(), (lose_gateway,)),
    "all": (Plan(limit=CALENDAR, persistent=True, **SLOW), Habits(leaving=LEAVING), (lose_both, lose_valkey)),
}

HEAD = (
    "| run | calls, refused | used | bound | engines' own sum | store's | of the budget | left: ledger, engines | seconds |",
    "|---|---|---|---|---|---|---|---|---|",
)


def prove(name: str, server: PostgresServer, seed: int) -> tuple[str, Sequence[Statement]]:
    """One run: its row of the table, and what was to hold."""
    plan, habits, troubles = PARTS[name]
    with world(plan, server) as processes:
        run = asyncio.run(spend(plan, processes, habits, seed, troubles))
    judged = Judged(run)
    return _row(name, judged), [*judged.statements()]


def _row(name: str, judged: Judged) -> str:
    run, bound = judged.run, judged.bound
    refused = sum(said.status == 429 for said in run.said)
    estimated = judged.estimated
    cells = [
        name,
        f"{len(judged.used_rows):,}, {refused:,}",
        f"{judged.ledger.tokens:,}",
        f"{bound}",
        f"{judged.engine_tokens:,}",
        f"{run.stored['tokens'].used:,}" if not bound.refilled else "",
        f"{100 * judged.ledger.tokens / (bound.size + bound.refilled):.2f} %",
        f"{sum(row.tokens for row in estimated):,}, {judged.engine_tokens_of(estimated):,}" if estimated else "",
        f"{run.seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def say(text: str = "") -> None:
    print(text, flush=True)  # noqa: T201 - it is what the command is for


def show(name: str, statements: Sequence[Statement], seconds: float) -> bool:
    """Print what was to hold; whether it did."""
    say(f"== {name} ({seconds:.0f} s)")
    for each in statements:
        say(f"{'  ok  ' if each.holds else 'FAILED'} {each.text}: {each.figures}")
    return all(each.holds for each in statements)


def main() -> int:
    """Run all parts, or those that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.quotas", description=__doc__)
    parser.add_argument("--only", action="append", choices=[*PARTS, "fairness"], help="this part; may be repeated")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=4, help="of fairness")
    options = parser.parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    chosen = options.only or [*PARTS, "fairness"]
    say(f"seed {seed}: repeat with --seed {seed}")
    rows, good = [], True
    with postgres_server() as server:
        for name in PARTS:
            if name in chosen:
                begun = time.monotonic()
                row, statements = prove(name, server, seed)
                rows.append(row)
                good &= show(name, statements, time.monotonic() - begun)
    for line in ("", *HEAD, *rows) if rows else ():
        say(line)
    if "fairness" in chosen:
        begun = time.monotonic()
        lines, statements = fairness(options.rounds, seed)
        good &= show("fairness", statements, time.monotonic() - begun)
        say()
        for line in lines:
            say(line)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
