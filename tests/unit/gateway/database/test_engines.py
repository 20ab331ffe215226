"""URLs, and what the engines made of them promise: SQLite's settings, whole transactions, a server's limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from gateway.database import SqlDatabase
from gateway.database.engines import address
from gateway.errors import ConfigError
from tests.support.depot import boxes, depot, shelves
from tests.support.postgres import PostgresDatabase


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[SqlDatabase]:
    """A database with the tests' tables, twice."""
    database = SqlDatabase(database_url)
    await database.prepare([depot], upgrade=True)
    yield database
    await database.aclose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("moegate.db", "not a database URL"),
        ("postgresql://user:hidden@host:port/name", "not a database URL"),
        ("mysql://user:hidden@host/name", "'mysql' is not supported"),
        ("postgresql+psycopg://user:hidden@host/name", "is not supported"),
        ("sqlite://moegate.db", "three slashes"),
        ("sqlite://", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
        ("sqlite:///moegate.db?mode=ro", "takes no options"),
        ("postgresql://user:hidden@host", "no name of a database"),
        ("postgresql://user:hidden@host/name?options=-c", "unknown option 'options'"),
        ("postgresql://user:hidden@host/name?sslmode=maybe", "sslmode must be one of"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        SqlDatabase(url)
    assert "hidden" not in str(caught.value)


def test_paths_are_relative_with_three_slashes_and_absolute_with_four() -> None:
    assert str(address("sqlite:///data/moegate.db").file) == "data/moegate.db"
    assert str(address("sqlite:////data/moegate.db").file) == "/data/moegate.db"
    assert address("postgresql://user:pw@host/name").where == "PostgreSQL, name at host:5432"


async def test_sqlite_is_set_up_for_several_processes(sqlite_url: str) -> None:
    database = SqlDatabase(sqlite_url)
    async with database.engine.connect() as connection:
        found = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
    await database.aclose()


async def test_what_points_to_nothing_is_refused(database: SqlDatabase) -> None:
    with pytest.raises(IntegrityError):
        async with database.engine.begin() as connection:
            await connection.execute(sa.insert(boxes), {"id": 1, "shelf": 99})


async def test_a_transaction_reads_one_state(database: SqlDatabase) -> None:
    """On SQLite, Python would by itself begin a transaction with the first write only."""
    isolated = {"isolation_level": "REPEATABLE READ"} if database.engine.dialect.name == "postgresql" else {}
    count = sa.select(sa.func.count()).select_from(shelves)
    async with database.engine.connect() as reader:
        await reader.execution_options(**isolated)
        assert await reader.scalar(count) == 0
        async with database.engine.begin() as writer:
            await writer.execute(sa.insert(shelves), {"id": 1, "name": "first"})
        assert await reader.scalar(count) == 0
        await reader.rollback()
        assert await reader.scalar(count) == 1


async def test_a_change_of_tables_can_be_taken_back(database: SqlDatabase) -> None:
    async with database.engine.connect() as connection:
        await connection.execute(sa.text("CREATE TABLE depot_more (id int)"))
        await connection.rollback()
        assert not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("depot_more"))


async def test_a_savepoint_is_within_the_transaction(database: SqlDatabase) -> None:
    async with database.engine.connect() as connection:
        async with connection.begin_nested():
            await connection.execute(sa.insert(shelves), {"id": 1, "name": "first"})
        await connection.rollback()
        assert await connection.scalar(sa.select(sa.func.count()).select_from(shelves)) == 0


async def test_writers_that_write_first_wait_for_each_other(database: SqlDatabase) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(sa.insert(shelves), {"id": 1, "name": "first", "weight": 0})

    async def add() -> None:
        async with database.engine.begin() as connection:
            await connection.execute(sa.update(shelves).values(weight=shelves.c.weight + 1))
            weight = await connection.scalar(sa.select(shelves.c.weight))
            await connection.execute(sa.update(shelves).values(weight=weight))

    await asyncio.gather(*(add() for _ in range(20)))
    async with database.engine.connect() as connection:
        assert await connection.scalar(sa.select(shelves.c.weight)) == 20


async def test_a_vacuum_needs_no_way_around_the_engine(sqlite_url: str) -> None:
    database = SqlDatabase(sqlite_url)
    await database.prepare([depot], upgrade=True)
    async with database.engine.connect() as connection:
        await connection.exec_driver_sql("VACUUM")
        await connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
    await database.aclose()


async def test_connections_that_an_outage_cut_are_replaced(postgres_database: PostgresDatabase) -> None:
    database = SqlDatabase(postgres_database.url)
    async with database.engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT current_setting('application_name')")) == "moegate"
    postgres_database.refuse()
    postgres_database.accept()
    async with database.engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT 1")) == 1
    await database.aclose()
