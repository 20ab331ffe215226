from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from plugins.ledger.tables import metadata, schema


def differences(connection: Connection) -> list[object]:
    def ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name != f"moegate_schema_{schema.name}"

    context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_the_revisions_make_the_tables_that_we_use(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


def test_tables_go_by_the_schemas_name() -> None:
    assert all(name.startswith("ledger_") for name in metadata.tables)
