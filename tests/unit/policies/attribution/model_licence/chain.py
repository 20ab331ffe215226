"""A history to be written and tampered with: what the tests of both share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from policies.attribution.model_licence import tables
from policies.attribution.model_licence.history import Row, appending, digest_of
from policies.attribution.model_licence.verifying import Verdict
from tests.unit.policies.attribution.model_licence.shop import ACTOR, NOW

ROWS = 6


async def write(engine: AsyncEngine, *contents: str, actor: str = ACTOR) -> None:
    async with appending(engine, actor, NOW) as edit:
        for content in contents:
            await edit.append("attest", "attestation:shop/*", "shop", content)


async def tamper(engine: AsyncEngine, *statements: str, **values: Any) -> None:
    """Do what the owner of a database can do: take the guard away first."""
    sqlite = engine.dialect.name == "sqlite"
    guards = (
        ("DROP TRIGGER IF EXISTS model_licence_history_update", "DROP TRIGGER IF EXISTS model_licence_history_delete")
        if sqlite
        else ("DROP TRIGGER IF EXISTS model_licence_history_refuse ON model_licence_history",)
    )
    async with engine.begin() as connection:
        for statement in (*guards, *statements):
            await connection.execute(text(statement), values if ":" in statement else {})


async def read(engine: AsyncEngine) -> list[Row]:
    async with engine.connect() as connection:
        query = select(tables.history).order_by(tables.history.c.sequence)
        return [Row(**row) for row in (await connection.execute(query)).mappings()]


async def put(engine: AsyncEngine, row: Row) -> None:
    async with engine.begin() as connection:
        values = {name: getattr(row, name) for name in row.__struct_fields__}
        await connection.execute(tables.history.insert().values(**values))


def rehashed(row: Row, **changes: Any) -> Row:
    """A row that was changed by somebody who knows how digests are made."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__} | changes
    return Row(**{**fields, "digest": digest_of(Row(**fields))})


def faults(verdict: Verdict) -> list[tuple[str, tuple[int, int]]]:
    assert verdict.intact is not bool(verdict.faults)
    return [(fault.kind, fault.rows) for fault in verdict.faults]
