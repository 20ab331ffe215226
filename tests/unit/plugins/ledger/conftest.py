"""A ledger's database, SQLite and PostgreSQL in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import SqlDatabase
from plugins.ledger.tables import schema


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Twice: a database with the ledger's tables."""
    database = SqlDatabase(database_url)
    await database.prepare([schema], upgrade=True)
    try:
        yield database.engine
    finally:
        await database.aclose()
