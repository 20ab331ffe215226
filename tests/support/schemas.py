"""What must hold for every schema on every database; for any plugin's own tests, too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from gateway import Schema
from gateway.database import SqlDatabase

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4

# Each waits until all are there, so that they start at the same moment; then each does what a gateway's start does.
_STARTER = """
import asyncio, importlib, sys
from gateway.database import SqlDatabase
url, module, attribute = sys.argv[1:]
schemas = getattr(importlib.import_module(module), attribute)()

async def main():
    database = SqlDatabase(url)
    await database.prepare(schemas, upgrade=True)
    print("current" if all(state.current for state in await database.states(schemas)) else "behind")
    await database.aclose()

print(len(schemas), flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


async def check_upgrade(schema: Schema, url: str) -> None:
    """From nothing, the revisions make what the metadata says, and all of it bears the schema's name."""
    database = SqlDatabase(url)
    try:
        await database.prepare([schema], upgrade=True)
        async with database.engine.connect() as connection:
            found = await connection.run_sync(differences, schema)
            assert found == [], f"the revisions of {schema.name} do not make its metadata: {found}"
            names = set(await connection.run_sync(table_names))
    finally:
        await database.aclose()
    assert names == {*schema.metadata.tables, f"moegate_schema_{schema.name}"}, names
    assert all(name.startswith(f"{schema.name}_") for name in schema.metadata.tables), names


async def check_idempotence(schema: Schema, url: str) -> None:
    """A second time changes nothing, and no upgrade is needed any more."""
    database = SqlDatabase(url)
    try:
        await database.prepare([schema], upgrade=True)
        before = await database.states([schema])
        await database.prepare([schema], upgrade=True)
        await database.prepare([schema], upgrade=False)
        assert await database.states([schema]) == before
        assert [state.current for state in before] == [True]
    finally:
        await database.aclose()


def check_concurrency(url: str, module: str, attribute: str) -> None:
    """Several processes that start together end up with one upgrade.

    Args:
        url: of a database with nothing in it.
        module, attribute: a function there that gives the schemas.
    """
    command = [sys.executable, "-c", _STARTER, url, module, attribute]
    started = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            schemas = process.stdout.readline()
            assert schemas, process.communicate()[1]
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        ends = [process.communicate(timeout=60) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [out.splitlines()[-1:] for out, _ in ends] == [["current"]] * PROCESSES, [err[-2000:] for _, err in ends]
    # What the gateway logs, in one of them for each schema.
    assert sum(out.count("tables upgraded") for out, _ in ends) == int(schemas)


async def check_concurrency_in_one_process(schemas: Sequence[Schema], url: str) -> None:
    """As above, with one loop."""
    databases = [SqlDatabase(url) for _ in range(PROCESSES)]
    try:
        await asyncio.gather(*(database.prepare(schemas, upgrade=True) for database in databases))
        assert all(state.current for state in await databases[0].states(schemas))
    finally:
        await asyncio.gather(*(database.aclose() for database in databases))


def differences(connection: Connection, schema: Schema) -> list[object]:
    """Where the tables are not what the metadata says; types and defaults too."""
    options = {
        "version_table": f"moegate_schema_{schema.name}",
        "compare_type": True,
        "compare_server_default": True,
    }
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata))


def table_names(connection: Connection) -> list[str]:
    """All tables that there are."""
    return list(inspect(connection).get_table_names())
