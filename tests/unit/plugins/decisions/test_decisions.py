"""The whole extension, on a gateway in this process and on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Decision, Ending, Outcome
from gateway.database import SqlDatabase
from plugins import decisions
from plugins.decisions import store
from plugins.decisions.decisions import Decisions
from plugins.decisions.recent import Recent
from plugins.decisions.record import CallRecord
from plugins.decisions.settings import DecisionsSettings
from plugins.decisions.tables import calls, schema
from tests.support.schemas import check_idempotence, check_upgrade
from tests.unit.builders import make_call
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import BODY, CHAT
from tests.unit.plugins.admin import CALLER, READER, administered

DAY = 86_400.0
NOW = 1_700_000_000.0


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    database = SqlDatabase(database_url)
    try:
        await database.prepare([schema], upgrade=True)
        yield database.engine
    finally:
        await database.aclose()


def call_id(number: int) -> str:
    return f"{number:032x}"


class Scene:
    """The extension, with all calls in the sample and a clock of its own."""

    def __init__(self, engine: AsyncEngine | None, **settings: Any) -> None:
        self.now = NOW
        wanted = DecisionsSettings(**{"sample": 1.0, **settings})
        self.decisions = Decisions(wanted, Recent(), engine, lambda: self.now)

    async def record(self, *numbers: int) -> None:
        outcome = Outcome(ending=Ending.COMPLETED, status=200)
        for number in numbers:
            await self.decisions.record(make_call(call_id=call_id(number)), outcome, Decision(chosen="a"))


async def rows(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(calls))).scalar_one()


async def test_the_tables_are_what_the_revisions_make(database_url: str) -> None:
    await check_upgrade(schema, database_url)
    await check_idempotence(schema, database_url)


async def test_what_is_no_longer_in_memory_is_in_the_database(engine: AsyncEngine) -> None:
    scene = Scene(engine, recent_calls=1)
    await scene.record(1, 2)
    assert await scene.decisions.find(call_id(1)) is None
    await scene.decisions.write()
    found = await scene.decisions.find(call_id(1))
    assert found is not None
    record = msgspec.json.decode(found, type=CallRecord)
    assert (record.call_id, record.chosen, record.received_at) == (call_id(1), "a", int(NOW * 1_000))
    assert scene.decisions.recent.written == 2


async def test_writing_twice_keeps_one(engine: AsyncEngine) -> None:
    scene = Scene(engine)
    await scene.record(1)
    waiting = list(scene.decisions.recent.waiting)
    await scene.decisions.write()
    scene.decisions.recent.waiting.extend(waiting)
    await scene.decisions.write()
    assert await rows(engine) == 1


async def test_what_was_kept_long_enough_is_removed(engine: AsyncEngine) -> None:
    scene = Scene(engine, retention_days=2)
    await scene.record(1)
    scene.now = NOW + 1.5 * DAY
    await scene.record(2)
    await scene.decisions.write()
    scene.now = NOW + 2.1 * DAY
    await scene.decisions.retain()
    assert await rows(engine) == 1
    assert await store.find(engine, call_id(2)) is not None


async def test_a_database_that_is_away_loses_nothing(engine: AsyncEngine) -> None:
    scene = Scene(engine)
    await scene.record(1, 2)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE decisions_calls RENAME TO gone"))
    await scene.decisions.write()
    await scene.record(3)
    assert [row[0] for row in scene.decisions.recent.waiting] == [call_id(number) for number in (1, 2, 3)]
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE gone RENAME TO decisions_calls"))
    await scene.decisions.write()
    assert (await rows(engine), len(scene.decisions.recent.waiting)) == (3, 0)


async def test_what_waits_is_written_at_the_end(engine: AsyncEngine) -> None:
    scene = Scene(engine)
    await scene.record(1)
    task = asyncio.create_task(scene.decisions.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rows(engine) == 1


async def test_without_a_sample_there_is_no_database() -> None:
    scene = Scene(None, sample=0.0)
    await scene.record(1)
    await scene.decisions.run()
    assert await scene.decisions.find(call_id(1)) is not None
    assert (await scene.decisions.find(call_id(2)), len(scene.decisions.recent.waiting)) == (None, 0)


# On a gateway

USE = [{"use": "decisions", "sample": 0}]


async def test_a_call_s_decision_is_shown_to_whoever_may_see_it() -> None:
    replies = (FakeResponse(503), FakeResponse(pieces=[b"{}"]))
    async with administered(decisions, use=USE, replies=replies, policies={"routing": []}) as (gateway, client):
        answer = await gateway.ask(CHAT, BODY, **CALLER)
        path = f"/admin/v1/decisions/{answer.headers['x-moegate-call-id']}"
        await gateway.runtime.stop()  # which waits until it is recorded
        shown = await client.get(path, headers=READER)
        record = msgspec.json.decode(shown.content, type=CallRecord)
        assert (record.candidates, record.chosen, record.status) == (("a", "b"), "b", 200)
        assert [(each.replica, each.error_code) for each in record.attempts] == [
            ("a", "upstream_overloaded"),
            ("b", None),
        ]
        assert (await client.get(path, headers=CALLER)).status_code == 403
        assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize("name", ["0" * 32, "x" * 64])
async def test_a_call_that_nobody_knows_is_not_found(name: str) -> None:
    async with administered(decisions, use=USE) as (_, client):
        answer = await client.get(f"/admin/v1/decisions/{name}", headers=READER)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "decision_not_found")
