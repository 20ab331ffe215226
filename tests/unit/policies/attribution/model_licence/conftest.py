"""A real database with the tables, made by the real revision; a directory of products on it, at a time that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import SqlDatabase
from policies.attribution.model_licence.directory import Directory
from policies.attribution.model_licence.tables import schema
from policies.attribution.model_licence.verifying import verify
from tests.unit.policies.attribution.model_licence.chain import ROWS, write
from tests.unit.policies.attribution.model_licence.shop import STRINGS, Clock


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """SQLite, and PostgreSQL."""
    database = SqlDatabase(database_url)
    await database.prepare([schema], upgrade=True)
    yield database.engine
    await database.aclose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(engine: AsyncEngine, clock: Clock) -> Directory:
    return Directory(engine, licences=STRINGS, clock=clock)


@pytest.fixture
async def written(engine: AsyncEngine) -> AsyncEngine:
    """With a history of some rows."""
    for number in range(ROWS):
        await write(engine, f'{{"n":{number}}}')
    assert (await verify(engine)).intact
    return engine
