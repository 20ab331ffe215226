"""The plugin as the gateway sees it: at a call's end, at its door, as a service with a life, over a reload."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway import Decision, Ending, Principal
from gateway.errors import ConfigError
from gateway.shared import SharedObjects
from plugins.ledger.ledger import Ledger, LedgerFull, SharedJournal, build
from plugins.ledger.routes import status_of
from plugins.ledger.settings import LedgerSettings
from tests.unit.builders import make_call
from tests.unit.plugins.ledger.journals import left_behind, written_by
from tests.unit.plugins.ledger.rows import Clock, make_outcome, make_settings


class Context:
    """What the plugin asks of its build."""

    def __init__(self, engine: AsyncEngine, objects: SharedObjects | None = None) -> None:
        self.database = self
        self.engine = engine
        self.objects = objects or SharedObjects()
        self.held: list[tuple[str, ...]] = []

    def shared(self, key: tuple[str, ...], create: Any) -> Any:
        self.held.append(key)
        return self.objects.hold(key, create)

    async def release(self) -> None:
        for key in self.held:
            await self.objects.release(key)


class Turns:
    """Lets a service go round when the test says so."""

    def __init__(self) -> None:
        self._gates: list[asyncio.Future[None]] = []
        self._asleep = asyncio.Condition()

    async def sleep(self, seconds: float) -> None:
        gate = asyncio.get_running_loop().create_future()
        async with self._asleep:
            self._gates.append(gate)
            self._asleep.notify_all()
        await gate

    async def round(self, tasks: int = 3) -> None:
        """Wait until all sleep, and wake them."""
        async with self._asleep:
            await self._asleep.wait_for(lambda: len(self._gates) == tasks)
            gates, self._gates = self._gates, []
        for gate in gates:
            gate.set_result(None)

    async def asleep(self, tasks: int = 3) -> None:
        async with self._asleep:
            await self._asleep.wait_for(lambda: len(self._gates) == tasks)


@pytest.fixture
def idle() -> AsyncEngine:
    """A database that nobody asks."""
    return create_async_engine("sqlite+aiosqlite://")


def made(settings: LedgerSettings, engine: AsyncEngine, turns: Turns | None = None) -> tuple[Ledger, SharedJournal]:
    journal = SharedJournal(settings, Clock())
    return Ledger(settings, journal, engine, clock=Clock(), sleep=(turns or Turns()).sleep), journal


def finish(ledger: Ledger, call_id: str, **outcome: Any) -> None:
    ledger.append(make_call(call_id=call_id), make_outcome(**outcome), Decision())


async def ids(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return [*(await connection.execute(text("SELECT call_id FROM ledger_calls ORDER BY call_id"))).scalars()]


async def test_the_service_ships_and_a_stop_ships_the_rest(tmp_path: Path, engine: AsyncEngine) -> None:
    turns = Turns()
    ledger, journal = made(make_settings(tmp_path), engine, turns)
    finish(ledger, "before the start")
    task = asyncio.create_task(ledger.run())
    await turns.asleep()
    assert await ids(engine) == ["before the start"]
    finish(ledger, "later")
    await turns.round()
    await turns.asleep()
    assert len(await ids(engine)) == 2
    finish(ledger, "last")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert len(await ids(engine)) == 3
    await journal.aclose()
    assert status_of(ledger).shipped == 3


async def test_a_stop_does_not_wait_for_a_database_that_is_away(tmp_path: Path, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE ledger_calls"))
    turns = Turns()
    ledger, journal = made(make_settings(tmp_path, stop_seconds=0.5), engine, turns)
    finish(ledger, "one")
    task = asyncio.create_task(ledger.run())
    await turns.asleep()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await journal.aclose()
    (folder,) = left_behind(tmp_path / "ledger")
    assert folder.segments() == [1]


async def test_a_reload_goes_on_with_the_same_journal(tmp_path: Path, idle: AsyncEngine) -> None:
    first = Context(idle)
    second = Context(idle, first.objects)
    settings = make_settings(tmp_path)
    old, new = build(settings, first), build(settings, second)
    finish(old, "a")
    finish(new, "b")
    await first.release()
    finish(new, "c")
    assert written_by(new.writer) == ["a", "b", "c"]
    assert left_behind(tmp_path / "ledger") == []
    await second.release()
    assert len(left_behind(tmp_path / "ledger")) == 1


async def test_a_reload_with_other_settings_leaves_the_old_journal_to_be_taken_over(
    tmp_path: Path, idle: AsyncEngine
) -> None:
    first = Context(idle)
    second = Context(idle, first.objects)
    old = build(make_settings(tmp_path), first)
    new = build(make_settings(tmp_path, ship_seconds=2.0), second)
    finish(old, "a")
    finish(new, "b")
    assert (written_by(old.writer), written_by(new.writer)) == (["a"], ["b"])
    await first.release()
    assert [folder.name for folder in left_behind(tmp_path / "ledger")] == [old.writer.folder.name]
    await second.release()


async def test_a_build_alone_writes_nothing(tmp_path: Path, idle: AsyncEngine) -> None:
    context = Context(idle)
    build(make_settings(tmp_path), context)
    await context.release()
    assert left_behind(tmp_path / "ledger") == []
    assert not (tmp_path / "ledger").exists()


def test_settings_that_make_no_sense(tmp_path: Path, idle: AsyncEngine) -> None:
    with pytest.raises(ConfigError, match="twice segment_bytes"):
        build(LedgerSettings(path=tmp_path, max_bytes=16 * 2**20), Context(idle))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        build(LedgerSettings(path=tmp_path / "file" / "ledger"), Context(idle))


async def test_without_room_the_door_is_closed_and_what_was_refused_is_counted(
    tmp_path: Path, idle: AsyncEngine
) -> None:
    ledger, journal = made(make_settings(tmp_path, max_bytes=131_072), idle)
    call = make_call()
    assert await ledger.transform(call) is call
    while not ledger.writer.refusing:
        finish(ledger, "x")
    with pytest.raises(LedgerFull) as caught:
        await ledger.transform(call)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_seconds) == (503, "ledger_full", 5.0)
    written = ledger.writer.written
    finish(ledger, "refused", ending=Ending.FAILED, status=503, error_code="ledger_full", attempts=())
    finish(ledger, "begun before")
    assert (ledger.writer.refused, ledger.writer.written) == (1, written + 1)
    await journal.aclose()


async def test_where_calls_may_be_dropped_the_door_stays_open(tmp_path: Path, idle: AsyncEngine) -> None:
    ledger, journal = made(make_settings(tmp_path, max_bytes=131_072, on_full="drop"), idle)
    while ledger.writer.trouble is None:
        finish(ledger, "x")
    call = make_call()
    assert await ledger.transform(call) is call
    assert "max_bytes" in msgspec.json.encode(status_of(ledger)).decode()
    await journal.aclose()


async def test_a_call_that_no_encoder_takes_is_still_written_down(tmp_path: Path, idle: AsyncEngine) -> None:
    ledger, journal = made(make_settings(tmp_path), idle)
    call = make_call(call_id="odd", user="\ud800", principal=Principal("k", "k", "t"))
    ledger.append(call, make_outcome(cost_nanos=10**40), Decision())
    assert written_by(ledger.writer) == ["odd"]
    await journal.aclose()
