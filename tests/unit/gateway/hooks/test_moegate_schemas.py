from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa

from gateway import BuildContext, Database, NoSettings, Schema
from gateway.errors import ConfigError
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "notes_0001"
down_revision = None


def upgrade():
    op.create_table("notes_note", sa.Column("text", sa.Text, nullable=False))
"""
METADATA = sa.MetaData()
NOTES = sa.Table("notes_note", METADATA, sa.Column("text", sa.Text, nullable=False))


class Writes:
    """A service that needs its table from its first moment on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.found: list[str] = []
        self.done = asyncio.Event()

    async def run(self) -> None:
        async with self._database.engine.begin() as connection:
            await connection.execute(sa.insert(NOTES).values(text="hello"))
            self.found = list(await connection.scalars(sa.select(NOTES.c.text)))
        self.done.set()
        await asyncio.Event().wait()


def brought(revisions: Path, built: list[Writes], text: str = REVISION) -> ModuleType:
    revisions.mkdir()
    (revisions / "r0001.py").write_text(text)

    def build(_: NoSettings, context: BuildContext) -> Writes:
        built.append(Writes(context.database))
        return built[-1]

    return plugin(
        moegate_schemas=lambda: [Schema("notes", revisions, METADATA)],
        moegate_services=lambda: [extension("notes", build=build)],
    )


async def test_the_tables_are_there_before_a_service_starts(tmp_path: Path) -> None:
    built: list[Writes] = []
    settings = config(database=f"sqlite:///{tmp_path}/a.db", plugins=[{"use": "notes"}])
    async with running(brought(tmp_path / "revisions", built), settings=settings):
        await built[0].done.wait()
    assert built[0].found == ["hello"]


async def test_without_anybody_who_uses_it_there_is_no_database(tmp_path: Path) -> None:
    settings = config(database=f"sqlite:///{tmp_path}/a.db")
    async with running(brought(tmp_path / "revisions", []), settings=settings):
        assert not (tmp_path / "a.db").exists()


async def test_a_database_that_a_newer_version_has_changed_is_refused(tmp_path: Path) -> None:
    settings = config(database=f"sqlite:///{tmp_path}/a.db", plugins=[{"use": "notes"}])
    newer = REVISION.replace("notes_0001", "notes_0002")
    built: list[Writes] = []
    async with running(brought(tmp_path / "newer", built, newer), settings=settings):
        await built[0].done.wait()
    with pytest.raises(ConfigError, match="notes"):
        async with running(brought(tmp_path / "older", []), settings=settings):
            pass
