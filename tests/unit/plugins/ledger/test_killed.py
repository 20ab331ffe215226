"""What a killed process leaves: real processes, SIGKILL at moments that nobody chose."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from plugins.ledger.reading import Batch
from plugins.ledger.shipping import Shipper
from plugins.ledger.store import CallStore
from plugins.ledger.writer import JournalWriter
from tests.unit.plugins.ledger.journals import left_behind, read_all
from tests.unit.plugins.ledger.rows import make_settings
from tests.unit.plugins.ledger.writing_child import WritingChildren


@pytest.fixture(scope="module")
def children() -> Iterator[WritingChildren]:
    children = WritingChildren()
    yield children
    children.close()


def check(told: list[str], found: list[str]) -> None:
    """All that was told is there, nothing twice; what was not told is the one call that was being told."""
    assert len(found) == len(set(found))
    assert found[: len(told)] == told
    assert len(found) - len(told) <= 1


def test_a_killed_process_loses_nothing(tmp_path: Path, children: WritingChildren) -> None:
    choice = random.Random(20_261_201)
    for attempt in range(12):
        told = children.killed_after(tmp_path, f"c{attempt}", choice.randint(1, 400))
        (folder,) = left_behind(tmp_path / "ledger")
        batch = read_all(folder)
        assert {loss.kind for loss in batch.losses} <= {"torn"}
        check(told, [row.call_id for row in batch.rows])
        folder.remove()


async def test_two_processes_write_side_by_side_and_a_third_takes_both(
    tmp_path: Path, engine: AsyncEngine, children: WritingChildren
) -> None:
    with ThreadPoolExecutor(2) as pool:
        lists = pool.map(lambda name: children.killed_after(tmp_path, name, 300), ("a", "b"))
    told = {call_id for each in lists for call_id in each}
    settings = make_settings(tmp_path)
    shipper = Shipper(settings.path, JournalWriter(settings), most=250)
    assert await shipper.ship_others(CallStore(engine)) == 2
    assert await shipper.ship_others(CallStore(engine)) == 0
    async with engine.connect() as connection:
        found = set((await connection.execute(text("SELECT call_id FROM ledger_calls"))).scalars())
        (summed,) = (await connection.execute(text("SELECT sum(calls) FROM ledger_days"))).scalars()
    assert told <= found
    assert len(found) - len(told) <= 2
    assert (summed, shipper.shipped.again) == (len(found), 0)


class Killed(Exception):
    """Stands for the moment at which a shipping process dies."""


async def test_a_shipper_that_dies_at_any_moment_ships_nothing_twice(
    tmp_path: Path, engine: AsyncEngine, children: WritingChildren
) -> None:
    """Before its transaction, or after it and before anything else is done: the next one goes on."""
    writer = JournalWriter(make_settings(tmp_path))
    told = children.killed_after(tmp_path, "c", 400)

    class Dying(CallStore):
        died = 0

        async def take(self, journal: str, batch: Batch, now_ms: int) -> int:
            self.died += 1
            if self.died % 2:
                raise Killed
            await super().take(journal, batch, now_ms)
            raise Killed

    store = Dying(engine)
    shippers = [Shipper(tmp_path / "ledger", writer, most=50) for _ in range(10)]
    for shipper in shippers:
        try:
            await shipper.ship_others(store)
        except Killed:
            continue
    last = Shipper(tmp_path / "ledger", writer, most=50)
    await last.ship_others(CallStore(engine))
    async with engine.connect() as connection:
        (found,) = (await connection.execute(text("SELECT count(*) FROM ledger_calls"))).scalars()
        (summed,) = (await connection.execute(text("SELECT sum(calls) FROM ledger_days"))).scalars()
    assert store.died == 10
    assert found == summed
    assert 0 <= found - len(told) <= 1
    assert (last.shipped.again, last.shipped.calls) == (0, found - 250)
