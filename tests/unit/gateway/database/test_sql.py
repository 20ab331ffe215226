"""Upgrades: from an older state, undone where they fail, refused where they must be."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.database import SchemaState, SqlDatabase
from gateway.errors import ConfigError
from tests.support.depot import REVISIONS, boxes, depot, first_only, shelves, with_revisions
from tests.support.gateway_process import free_port
from tests.support.postgres import PASSWORD, PostgresDatabase, PostgresServer
from tests.support.schemas import table_names

FAILS = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

def upgrade():
    op.create_table("depot_third", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO depot_shelf (id, name) VALUES (9, 'ninth')")
    op.execute("SELECT id FROM depot_nowhere")
"""

ORPHANS = """
from alembic import op

revision = "0003"
down_revision = "0002"

def upgrade():
    op.execute("DELETE FROM depot_shelf")
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[SqlDatabase]:
    """A new database, twice."""
    database = SqlDatabase(database_url)
    yield database
    await database.aclose()


async def names(database: SqlDatabase) -> list[str]:
    """All tables that there are."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(table_names)


async def fill(database: SqlDatabase) -> None:
    """A shelf with a box."""
    async with database.engine.begin() as connection:
        await connection.execute(sa.insert(shelves), {"id": 1, "name": "first", "weight": 5})
        await connection.execute(sa.insert(boxes), {"id": 1, "shelf": 1})


async def content(database: SqlDatabase) -> tuple[list[tuple[int, str, int]], list[tuple[int, int]]]:
    """All rows."""
    async with database.engine.connect() as connection:
        on_shelves = (await connection.execute(sa.select(shelves))).all()
        return [tuple(row) for row in on_shelves], [tuple(row) for row in await connection.execute(sa.select(boxes))]


async def test_an_upgrade_keeps_what_is_there(database: SqlDatabase, tmp_path: Path) -> None:
    old = first_only(tmp_path / "old")
    await database.prepare([old], upgrade=True)
    assert await database.states(
        [
            old,
        ]
    ) == [SchemaState("depot", "0001", "0001", known=True)]
    await fill(database)
    assert await database.states([depot]) == [SchemaState("depot", "0001", "0002", known=True)]
    await database.prepare([depot], upgrade=True)
    assert await database.states([depot]) == [SchemaState("depot", "0002", "0002", known=True)]
    assert await content(database) == ([(1, "first", 5)], [(1, 1)])


async def test_what_is_behind_is_told_with_the_command_that_helps(database: SqlDatabase, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'depot' are not there yet.*run moegate db upgrade --config FILE"):
        await database.prepare([depot], upgrade=False)
    assert [state.at for state in await database.states([depot])] == [None]
    await database.prepare([first_only(tmp_path / "old")], upgrade=True)
    with pytest.raises(ConfigError, match=r"'depot' are at revision 0001, and this version needs 0002; run moegate db"):
        await database.prepare([depot], upgrade=False)


@pytest.mark.parametrize("upgrade", [True, False])
async def test_a_database_of_a_newer_version_is_left_alone(
    database: SqlDatabase, tmp_path: Path, *, upgrade: bool
) -> None:
    await database.prepare([depot], upgrade=True)
    old = first_only(tmp_path / "old")
    assert await database.states([old]) == [SchemaState("depot", "0002", "0001", known=False)]
    with pytest.raises(
        ConfigError, match=r"at revision 0002, which this version of moegate does not know; a newer one"
    ):
        await database.prepare([old], upgrade=upgrade)


async def test_a_revision_is_known_by_its_whole_name_only(database: SqlDatabase, tmp_path: Path) -> None:
    await database.prepare([depot], upgrade=True)
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("UPDATE moegate_schema_depot SET version_num = '00'"))
    with pytest.raises(ConfigError, match="does not know"):
        await database.prepare([depot], upgrade=True)


async def test_a_history_that_was_tampered_with_is_told(database: SqlDatabase) -> None:
    await database.prepare([depot], upgrade=True)
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("INSERT INTO moegate_schema_depot (version_num) VALUES ('0001')"))
    with pytest.raises(ConfigError, match="more than one head"):
        await database.prepare([depot], upgrade=True)


async def test_a_failed_upgrade_leaves_nothing_behind(database: SqlDatabase, tmp_path: Path) -> None:
    await database.prepare([depot], upgrade=True)
    before = await names(database)
    broken = with_revisions(tmp_path / "broken", "r0001_first", "r0002_widen", r0003=FAILS)
    with pytest.raises(ConfigError, match="depot_nowhere"):
        await database.prepare([broken], upgrade=True)
    assert await names(database) == before
    assert await content(database) == ([], [])
    assert [state.at for state in await database.states([depot])] == ["0002"]


async def test_an_upgrade_that_orphans_rows_is_undone_on_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    """PostgreSQL sees to that by itself; on SQLite foreign keys are off while tables are rebuilt."""
    database = SqlDatabase(sqlite_url)
    await database.prepare([depot], upgrade=True)
    await fill(database)
    broken = with_revisions(tmp_path / "broken", "r0001_first", "r0002_widen", r0003=ORPHANS)
    with pytest.raises(ConfigError, match=r"'depot_box' would point to nothing in 'depot_shelf'; nothing was changed"):
        await database.prepare([broken], upgrade=True)
    assert await content(database) == ([(1, "first", 5)], [(1, 1)])
    await database.aclose()


@pytest.mark.parametrize(
    ("revisions", "said"),
    [
        ({}, "one line of descent"),
        ({"a": "revision = 'a'\ndown_revision = None", "b": "revision = 'b'\ndown_revision = None"}, "one line"),
        ({"a": "revision = 'a'\ndown_revision = None\ndepends_on = 'a'"}, "cannot be read"),
    ],
)
async def test_a_broken_history_is_told(sqlite_url: str, tmp_path: Path, revisions: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        await SqlDatabase(sqlite_url).prepare([with_revisions(tmp_path / "broken", **revisions)], upgrade=True)


async def test_two_schemas_of_one_name_are_refused(sqlite_url: str) -> None:
    with pytest.raises(ConfigError, match="two plugins"):
        await SqlDatabase(sqlite_url).prepare([depot, depot], upgrade=True)


async def test_no_schema_needs_no_database(tmp_path: Path) -> None:
    await SqlDatabase(f"postgresql://nobody:at@127.0.0.1:{free_port()}/all").prepare([], upgrade=False)


async def test_looking_does_not_make_a_file(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    database = SqlDatabase(f"sqlite:///{file}")
    assert [state.at for state in await database.states([depot])] == [None]
    assert not file.exists()
    await database.prepare([depot], upgrade=True)
    await fill(database)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path)}
    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}
    await database.aclose()


async def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"database: SQLite, .*gone/new\.db: unable to open database file"):
        await SqlDatabase(f"sqlite:///{tmp_path / 'gone' / 'new.db'}").prepare([depot], upgrade=True)


async def test_a_wrong_password_is_told_without_it(
    postgres: PostgresServer, postgres_database: PostgresDatabase
) -> None:
    url = postgres_database.url.replace(PASSWORD, "s3cret-and-wrong")
    with pytest.raises(ConfigError, match="password authentication failed") as caught:
        await SqlDatabase(url).prepare([depot], upgrade=False)
    assert "s3cret-and-wrong" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "s3cret-and-wrong" not in repr(SqlDatabase(url))


async def test_a_server_that_is_not_there_is_told() -> None:
    port = free_port()
    with pytest.raises(ConfigError, match=rf"database: PostgreSQL, moegate at 127\.0\.0\.1:{port}: .*Errno"):
        await SqlDatabase(f"postgresql://moegate:pw@127.0.0.1:{port}/moegate").states([depot])


async def test_an_upgrade_waits_for_another_process(postgres_database: PostgresDatabase) -> None:
    """Whoever holds the lock is at it; that is seen in the server's own books."""
    database = SqlDatabase(postgres_database.url)
    holder = SqlDatabase(postgres_database.url)
    async with holder.engine.connect() as connection:
        await connection.execute(sa.text(f"SELECT pg_advisory_lock({int.from_bytes(b'moegate')})"))
        waiting = asyncio.create_task(database.prepare([depot], upgrade=True))
        query = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not (await connection.execute(query)).scalar_one():
            assert not waiting.done()
        await connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))
        await waiting
    assert [state.at for state in await database.states([depot])] == ["0002"]
    await database.aclose()
    await holder.aclose()


def test_the_tests_own_revisions_are_all_used() -> None:
    assert {file.stem for file in REVISIONS.glob("r*.py")} == {"r0001_first", "r0002_widen"}
