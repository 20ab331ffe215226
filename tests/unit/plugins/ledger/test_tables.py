from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Schema
from gateway.database import SqlDatabase
from plugins.ledger.folders import Position
from plugins.ledger.reading import Batch
from plugins.ledger.store import CallStore
from plugins.ledger.tables import calls, metadata, schema
from tests.unit.plugins.ledger.rows import make_row


def differences(connection: Connection) -> list[object]:
    def ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name != f"moegate_schema_{schema.name}"

    context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_the_revisions_make_the_tables_that_we_use(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_database_with_calls_in_it_is_brought_up_to_date(tmp_path: Path, database_url: str) -> None:
    shutil.copy(schema.revisions / "r0001_first.py", tmp_path)
    before = SqlDatabase(database_url)
    await before.prepare([Schema("ledger", tmp_path, metadata)], upgrade=True)
    old = {"user_id" if name == "user" else name: value for name, value in msgspec.structs.asdict(make_row()).items()}
    del old["max_tokens"]
    async with before.engine.begin() as connection:
        await connection.execute(calls.insert().values(old))
    await before.aclose()
    now = SqlDatabase(database_url)
    await now.prepare([schema], upgrade=True)
    store = CallStore(now.engine)
    assert (
        await store.take("j", Batch([make_row(), make_row("new", max_tokens=7)], [], Position(1, 1), complete=True), 5)
        == 1
    )
    async with now.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        found = await connection.execute(select(calls.c.call_id, calls.c.max_tokens, calls.c.prompt_tokens))
        assert sorted(map(tuple, found)) == [("call-1", None, 100), ("new", 7, 100)]
    await now.aclose()


def test_tables_go_by_the_schemas_name() -> None:
    assert all(name.startswith("ledger_") for name in metadata.tables)
