"""What the ledger costs: a call's way, a day of a million calls on disk and in each database, shipping, usage queries.

Run it with `python -m tests.performance.ledger [--rows N] [--database SQLite]`; it starts a PostgreSQL
of its own and prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Decision, Model, Outcome, Prices, Principal, Usage
from gateway.contracts.call import Attempt, Call, Ending, Operation
from gateway.database import SqlDatabase
from plugins.ledger.asked import read_query
from plugins.ledger.ledger import Ledger, SharedJournal
from plugins.ledger.settings import LedgerSettings
from plugins.ledger.store import CallStore
from plugins.ledger.tables import schema
from plugins.ledger.usage import statement, usage
from tests.support.postgres import postgres_server
from tests.unit.builders import CHECKPOINT, make_call

START = 1_793_491_200  # 2026-11-01T00:00:00Z
DAYS = 30
TENANTS = 50
KEYS = 500
USERS = 5_000
PROCESSOR_ROUNDS = 100_000

QUESTIONS = {
    "tenant and day, daily sums": ("tenant,day", {}),
    "one tenant by day and model": ("day,model", {"tenant": ["tenant-7"]}),
    "tenant and user": ("tenant,user", {"tenant": ["tenant-7"]}),
    "replica and status": ("replica,status", {}),
    "tenant and day, every call": ("tenant,day,finish_reason", {}),
    "one tenant by hour, every call": ("hour", {"tenant": ["tenant-7"]}),
}


def calls(count: int) -> Iterator[tuple[float, Call, Outcome]]:
    """A month of traffic: when, who and how it ended; ids and lengths as the gateway makes them."""
    choice = random.Random(5)
    prices = Prices(input=0.6, output=2.5, cached_input=0.15)
    models = [Model(name, (), CHECKPOINT, prices=prices) for name in ("kimi-k2", "kimi-k2-thinking")]
    principals = [
        Principal(f"{key:012x}", f"key-{key}", f"tenant-{key % TENANTS}", f"team-{key % 3}") for key in range(KEYS)
    ]
    for number in range(count):
        key = choice.randrange(KEYS)
        refused = number % 50 == 0
        estimated = number % 40 == 1
        call = make_call(
            call_id=f"{choice.getrandbits(128):032x}",
            operation=Operation.MESSAGES if key % 3 == 0 else Operation.CHAT,
            model=models[key % 2],
            principal=principals[key],
            user=f"user-{choice.randrange(USERS)}" if number % 3 else None,
            stream=number % 2 == 0,
        )
        usage_ = Usage(
            prompt_tokens=choice.randrange(20_000), cached_tokens=500, completion_tokens=choice.randrange(2_000)
        )
        served = Outcome(
            ending=Ending.DISCONNECTED if estimated else Ending.COMPLETED,
            status=499 if estimated else 200,
            usage=usage_,
            usage_estimated=estimated,
            cost_nanos=prices.cost_nanos(usage_),
            checkpoint=CHECKPOINT,
            finish_reason=choice.choice(("stop", "stop", "length", "tool_calls")),
            attempts=(Attempt(f"vllm-{choice.randrange(8)}", "vllm"),),
            admitted_seconds=0.000_03,
            first_byte_seconds=choice.random(),
            total_seconds=choice.random() * 20,
        )
        no = Outcome(ending=Ending.FAILED, status=429, error_code="quota_exceeded", total_seconds=0.000_1)
        yield START + number * DAYS * 86_400 / count, call, no if refused else served


class Clock:
    """The moment at which a call ends."""

    now = float(START)

    def __call__(self) -> float:
        return self.now


def show(what: str, figure: str) -> None:
    print(f"{what:<58} {figure:>20}", flush=True)  # noqa: T201 - figures are what it is for


@contextmanager
def timed(what: str, count: int | None = None) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    show(what, f"{seconds * 1_000:,.0f} ms" if count is None else f"{count / seconds:,.0f} a second")


def cost_on_the_way(folder: Path) -> None:
    """CPU of `append` and of the door, per call, in a plain loop."""
    settings = LedgerSettings(path=folder / "cost", min_free_bytes=0)
    database = SqlDatabase(f"sqlite:///{folder / 'unused.db'}")
    journal = SharedJournal(settings)
    ledger = Ledger(settings, journal, database.engine)
    _, call, outcome = next(item for item in calls(3) if item[2].status == 200)
    decision = Decision()
    best = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(PROCESSOR_ROUNDS // 5):
            ledger.append(call, outcome, decision)
        best.append((time.process_time() - begun) / (PROCESSOR_ROUNDS // 5) * 1e6)
    show("append, CPU µs a call (best, median of 5 rounds)", f"{min(best):.2f}, {sorted(best)[2]:.2f}")
    journal.writer.close()


def write_journal(folder: Path, count: int) -> LedgerSettings:
    """The journal of so many calls, as a process that has died left it."""
    settings = LedgerSettings(path=folder / "journal", min_free_bytes=0, max_bytes=2**40)
    clock = Clock()
    journal = SharedJournal(settings, clock)
    database = SqlDatabase(f"sqlite:///{folder / 'unused.db'}")
    ledger = Ledger(settings, journal, database.engine, clock=clock)
    decision = Decision()
    for at, call, outcome in calls(count):
        clock.now = at + outcome.total_seconds
        ledger.append(call, outcome, decision)
    assert (journal.writer.written, journal.writer.lost) == (count, 0)
    show(f"journal of {count:,} calls", f"{journal.writer.bytes_on_disk / 2**20:,.0f} MiB")
    journal.writer.close()
    return settings


async def measure(name: str, url: str, settings: LedgerSettings, count: int) -> None:
    """Ship the journal into a database, and ask it."""
    database = SqlDatabase(url)
    await database.prepare([schema], upgrade=True)
    engine = database.engine
    shipper = SharedJournal(settings).shipper
    longest = asyncio.create_task(longest_pause())
    with timed(f"{name}: shipping", count):
        await shipper.ship_others(CallStore(engine))
    assert (shipper.shipped.calls, shipper.shipped.again) == (count, 0)
    longest.cancel()
    pauses = sorted(pause for pause in PAUSES)
    show(
        f"{name}: event loop held up while shipping, p99, longest",
        f"{pauses[len(pauses) * 99 // 100]:.0f}, {pauses[-1]:.0f} ms",
    )
    if name == "PostgreSQL":
        # Its autovacuum does so within a minute or two; without it the planner thinks that the tables are empty.
        async with engine.begin() as connection:
            await connection.execute(text("ANALYZE"))
    await tell_sizes(name, engine)
    for question, (by, only) in QUESTIONS.items():
        query = read_query("2026-11-01", "2026-12-01", by, only, 10_000, now=START)
        best = float("inf")
        for _ in range(3):
            begun = time.perf_counter()
            report = await usage(engine, query)
            best = min(best, time.perf_counter() - begun)
        show(f"{name}: {question} (best of 3)", f"{best * 1_000:,.0f} ms")
        if not only:
            assert sum(int(line["calls"] or 0) for line in report.totals) == count
    with timed(f"{name}: a tenant's statement"):
        await statement(engine, "tenant-7", "2026-11", now=START)
    await database.aclose()


PAUSES: list[float] = []


async def longest_pause() -> None:
    """How late a task wakes that wants to every 5 ms: that is what calls would wait."""
    PAUSES.clear()
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.005)
        PAUSES.append((time.perf_counter() - begun - 0.005) * 1_000)


async def tell_sizes(name: str, engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for table in ("ledger_calls", "ledger_days", "ledger_user_days"):
            rows = (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar()
            if name == "PostgreSQL":
                size = (await connection.execute(text(f"SELECT pg_total_relation_size('{table}')"))).scalar()
            else:
                names = f"SELECT name FROM sqlite_master WHERE tbl_name = '{table}'"
                size = (
                    await connection.execute(text(f"SELECT sum(pgsize) FROM dbstat WHERE name IN ({names})"))
                ).scalar()
            show(f"{name}: {table}, {rows:,} rows with indexes", f"{int(size or 0) / 2**20:,.0f} MiB")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("SQLite", "PostgreSQL"), help="only this one")
    arguments = parser.parse_args()
    count = arguments.rows
    with tempfile.TemporaryDirectory(prefix="moegate-ledger-") as name:
        folder = Path(name)
        cost_on_the_way(folder)
        for kind in [arguments.database] if arguments.database else ["SQLite", "PostgreSQL"]:
            settings = write_journal(folder / kind, count)
            if kind == "SQLite":
                asyncio.run(measure(kind, f"sqlite:///{folder / 'ledger.db'}", settings, count))
            else:
                with postgres_server() as server, server.database() as database:
                    asyncio.run(measure(kind, database.url, settings, count))


if __name__ == "__main__":
    main()
