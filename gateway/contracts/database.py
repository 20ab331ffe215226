"""The SQL database that extensions keep their tables in, and how they say what tables those are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import AsyncEngine


class Schema(Struct, frozen=True, eq=False):
    """The tables of one extension, with their history.

    Attributes:
        name: its tables' names start with it; its history is kept in `moegate_schema_<name>`.
        revisions: a folder of Alembic revision files, one line of descent.
        metadata: the tables as they are after the last revision.
    """

    name: str
    revisions: Path
    metadata: MetaData


class Database(Protocol):
    """The database of the configuration, SQLite or PostgreSQL; one engine for the whole process."""

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine. `engine.dialect.name` is `sqlite` or `postgresql`. Not for use on a call's way."""
