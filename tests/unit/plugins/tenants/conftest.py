"""A real database with the tables, made by the real revision; a directory on it, at a time that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import SqlDatabase
from plugins.tenants.directory import Directory
from plugins.tenants.tables import schema
from tests.unit.plugins.tenants.scene import ACTOR, Clock, Node, tenant_terms, terms


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
    return Directory(engine, clock)


@pytest.fixture
async def key(directory: Directory) -> str:
    """A key of the team acme/search."""
    await directory.create_tenant(ACTOR, "acme", tenant_terms())
    await directory.create_team(ACTOR, "acme", "search", terms())
    return (await directory.create_key(ACTOR, ("acme", "search"), "ci", terms()))[1]


@pytest.fixture
def node(engine: AsyncEngine, clock: Clock) -> Node:
    return Node(engine, clock)
