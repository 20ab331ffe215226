from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import SqlDatabase
from plugins.ledger import tables
from plugins.ledger.folders import Position, candidates, create
from plugins.ledger.frames import encode_frame
from plugins.ledger.metrics import metrics_of
from plugins.ledger.reading import Batch
from plugins.ledger.row import GapRow, encode_row
from plugins.ledger.shipping import MOST_FAILURES, Shipper
from plugins.ledger.store import OUTAGES, CallStore
from plugins.ledger.writer import JournalWriter
from tests.support.postgres import PostgresDatabase
from tests.unit.plugins.ledger.rows import DAY, NOON, Clock, make_frame, make_row, make_settings


def begin(tmp_path: Path, **settings: object) -> tuple[JournalWriter, Shipper]:
    chosen = make_settings(tmp_path, **settings)
    writer = JournalWriter(chosen, clock=Clock())
    return writer, Shipper(chosen.path, writer, most=100, clock=Clock())


async def rows(engine: AsyncEngine, query: str) -> list[tuple[object, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def ids(engine: AsyncEngine) -> list[object]:
    return [row[0] for row in await rows(engine, "SELECT call_id FROM ledger_calls ORDER BY call_id")]


async def sums(engine: AsyncEngine) -> tuple[object, ...]:
    """Calls and tokens by the calls, by the days, by the users' days."""
    async with engine.connect() as connection:
        counted = await connection.execute(select(func.count(), func.sum(tables.calls.c.prompt_tokens)))
        found = [tuple(map(int, counted.one()))]
        for table in (tables.days, tables.user_days):
            row = await connection.execute(select(func.sum(table.c.calls), func.sum(table.c.prompt_tokens)))
            found.append(tuple(map(int, row.one())))
    return tuple(found)


async def test_what_is_written_is_taken_once_and_removed(tmp_path: Path, engine: AsyncEngine) -> None:
    writer, shipper = begin(tmp_path)
    store = CallStore(engine)
    for number in range(1_000):
        writer.append(make_frame(f"{number:04}"))
    await shipper.ship_own(store)
    await shipper.ship_own(store)
    assert await ids(engine) == [f"{number:04}" for number in range(1_000)]
    assert await sums(engine) == ((1_000, 100_000),) * 3
    assert (shipper.shipped.calls, shipper.shipped.again, shipper.shipped.damaged) == (1_000, 0, 0)
    assert writer.folder is not None
    assert writer.folder.segments() == [writer.end.segment]
    writer.append(make_frame("one more"))
    await shipper.ship_own(store)
    assert shipper.shipped.calls == 1_001
    writer.close()


async def test_all_columns_are_as_the_row_says(tmp_path: Path, engine: AsyncEngine) -> None:
    row = make_row(prompt_tokens=None, estimated=True, streamed=True, user="Zoë", first_byte_us=None)
    await CallStore(engine).take("j", Batch([row], [], Position(1, 1), complete=True), 5)
    async with engine.connect() as connection:
        (found,) = (await connection.execute(select(tables.calls))).all()
        (journal,) = (await connection.execute(select(tables.journals))).all()
    assert tuple(found) == tuple(getattr(row, name) for name in row.__struct_fields__)
    assert tuple(journal) == ("j", 1, 1, 5)


async def test_a_call_that_comes_again_counts_once(engine: AsyncEngine) -> None:
    """Whatever brings it: another journal, the same batch again, a batch that overlaps, itself within one batch."""
    store = CallStore(engine)
    first = [make_row(f"{number}") for number in range(5)]
    second = [*first[3:], make_row("5"), make_row("5", tenant="another")]
    assert await store.take("a", Batch(first, [], Position(1, 100), complete=True), 1) == 5
    assert await store.take("a", Batch(first, [], Position(1, 100), complete=True), 1) == 0
    assert await store.take("b", Batch(second, [], Position(1, 100), complete=True), 1) == 1
    assert await ids(engine) == ["0", "1", "2", "3", "4", "5"]
    assert await sums(engine) == ((6, 600),) * 3


async def test_late_calls_go_to_their_own_day(engine: AsyncEngine) -> None:
    store = CallStore(engine)
    days = [NOON // DAY, NOON // DAY - 3]
    for number in range(4):
        row = make_row(str(number), received_at=NOON - (number % 2) * 3 * DAY)
        await store.take("a", Batch([row], [], Position(1, number), complete=True), 1)
    assert await rows(engine, "SELECT day, calls FROM ledger_days ORDER BY day DESC") == [(day, 2) for day in days]


async def test_a_dead_process_s_journal_is_taken_by_the_next(tmp_path: Path, engine: AsyncEngine) -> None:
    store = CallStore(engine)
    dead, shipper = begin(tmp_path)
    for number in range(500):
        dead.append(make_frame(f"{number:04}"))
    await shipper.ship_own(store)
    for number in range(500, 600):
        dead.append(make_frame(f"{number:04}"))
    living, shipper = begin(tmp_path)
    living.append(make_frame("mine"))
    assert await shipper.ship_others(store) == 0  # it is not dead yet
    dead.close()
    assert await shipper.ship_others(store) == 1
    # Nothing came twice, and by the place that is kept: not because the calls were known.
    assert (shipper.shipped.calls, shipper.shipped.again) == (100, 0)
    assert len(await ids(engine)) == 600
    assert candidates(tmp_path / "ledger") == [living.folder.path] if living.folder else False
    assert await rows(engine, "SELECT name FROM ledger_journals") == []
    living.close()


async def test_damage_and_gaps_are_in_the_database(tmp_path: Path, engine: AsyncEngine) -> None:
    folder = create(tmp_path / "ledger")
    bad = bytearray(make_frame("bad"))
    bad[20] ^= 1
    gap = encode_frame(encode_row(GapRow(NOON, NOON + 5, 7, 9)))
    folder.segment(1).write_bytes(make_frame("good") + bad + gap + make_frame("torn")[:-1])
    folder.release()
    _, shipper = begin(tmp_path)
    await shipper.ship_others(CallStore(engine))
    assert await ids(engine) == ["good"]
    found = await rows(engine, "SELECT kind, calls, since, until FROM ledger_losses ORDER BY position, kind")
    assert found == [
        ("damaged", None, NOON, NOON),
        ("lost", 7, NOON, NOON + 5),
        ("refused", 9, NOON, NOON + 5),
        ("torn", None, NOON, NOON),
    ]
    assert shipper.shipped.damaged == 2
    assert len(list((tmp_path / "ledger" / "damaged").iterdir())) == 1


async def test_a_database_that_is_down_costs_nothing(tmp_path: Path, postgres_database: PostgresDatabase) -> None:
    database = SqlDatabase(postgres_database.url)
    await database.prepare([tables.schema], upgrade=True)
    writer, shipper = begin(tmp_path)
    store = CallStore(database.engine)
    try:
        writer.append(make_frame("before"))
        await shipper.ship_own(store)
        postgres_database.refuse()
        for number in range(250):
            writer.append(make_frame(f"{number:04}"))
        for _ in range(MOST_FAILURES + 2):
            with pytest.raises(OUTAGES):
                await shipper.ship_own(store)
        postgres_database.accept()
        await shipper.ship_own(store)
        assert len(await ids(database.engine)) == 251
        assert await sums(database.engine) == ((251, 25_100),) * 3
        assert (shipper.shipped.calls, shipper.shipped.set_aside) == (251, 0)
    finally:
        writer.close()
        await database.aclose()


async def test_a_call_that_the_database_does_not_take_does_not_hold_up_the_others(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    """Rows are tamed, so nothing known is refused; a trigger or a check that somebody added still may."""
    if engine.dialect.name == "sqlite":
        rule = "CREATE TRIGGER no BEFORE INSERT ON ledger_calls WHEN NEW.tenant = 'odd' BEGIN SELECT RAISE(ABORT, 'no'); END"
    else:
        rule = "ALTER TABLE ledger_calls ADD CHECK (tenant <> 'odd')"
    async with engine.begin() as connection:
        await connection.exec_driver_sql(rule)
    writer, shipper = begin(tmp_path)
    store = CallStore(engine)
    for number in range(10):
        writer.append(make_frame(str(number), tenant="odd" if number == 3 else "acme"))
    for _ in range(MOST_FAILURES):
        with pytest.raises(DBAPIError):
            await shipper.ship_own(store)
    await shipper.ship_own(store)
    assert await ids(engine) == [str(number) for number in range(10) if number != 3]
    assert await sums(engine) == ((9, 900),) * 3
    assert await rows(engine, "SELECT kind, calls FROM ledger_losses") == [("set_aside", 1)]
    assert '"call_id":"3"' in (tmp_path / "ledger" / "damaged" / "set_aside.jsonl").read_text()
    assert shipper.shipped.set_aside == 1
    writer.close()


async def test_what_waits_for_the_database_and_for_how_long_is_shown(tmp_path: Path, engine: AsyncEngine) -> None:
    chosen, clock = make_settings(tmp_path), Clock()
    writer = JournalWriter(chosen, clock=clock)
    shipper = Shipper(chosen.path, writer, clock=clock)

    def shown() -> dict[str, object]:
        return {
            metric.name.removeprefix("moegate_ledger_"): metric.samples[()] for metric in metrics_of(writer, shipper)
        }

    assert set(shown().values()) == {0}
    frame = make_frame("0")
    writer.append(frame)
    clock.ms += 7_000
    assert (shown()["written"], shown()["waiting_bytes"], shown()["lag_seconds"]) == (1, len(frame), 7)
    await shipper.ship_own(CallStore(engine))
    clock.ms += 5_000
    assert (shown()["shipped"], shown()["waiting_bytes"], shown()["lag_seconds"]) == (1, 0, 0)
    writer.append(make_frame("1"))
    assert shown()["lag_seconds"] == 5
    writer.close()
