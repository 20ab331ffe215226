"""Experiments in the database: what was declared and decided there, for all nodes, and what each node has seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]
from msgspec import Struct
from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from plugins.experiments.live.settings import ExperimentSettings
from plugins.experiments.live.standing import Saved, Status
from plugins.experiments.live.tables import experiments, tallies
from plugins.experiments.statistics.saving import load, save

# What a database that is down, or going down, may raise.
OUTAGES = (SQLAlchemyError, PostgresError, InterfaceError, OSError, TimeoutError)

_SETTINGS = msgspec.json.Decoder(ExperimentSettings | None)
_STATUS = msgspec.json.Decoder(Status)


class Declared(Struct, frozen=True):
    """One experiment; without settings it is of the configuration, and only its status is kept here."""

    settings: ExperimentSettings | None
    status: Status


async def declared(engine: AsyncEngine) -> dict[str, Declared]:
    """All, by name.

    Raises:
        one of OUTAGES.
    """
    columns = experiments.c
    async with engine.connect() as connection:
        rows = await connection.execute(select(columns.name, columns.settings, columns.status))
        return {name: Declared(_SETTINGS.decode(settings), _STATUS.decode(status)) for name, settings, status in rows}


async def declare(engine: AsyncEngine, name: str, settings: ExperimentSettings | None, status: Status) -> None:
    """Write one down, whatever was there.

    Raises:
        one of OUTAGES.
    """
    row = {
        "name": name,
        "settings": msgspec.json.encode(settings).decode(),
        "status": msgspec.json.encode(status).decode(),
        "changed_at": status.changed_at,
    }
    await _put(engine, experiments, ("name",), row)


async def seen_by(engine: AsyncEngine, name: str) -> dict[str, Saved]:
    """What each node has seen of an experiment, by the node's name.

    Raises:
        one of OUTAGES.
    """
    columns = tallies.c
    async with engine.connect() as connection:
        rows = await connection.execute(select(columns.node, columns.saved).where(columns.name == name))
        found = {}
        for node, saved in rows:
            try:
                found[node] = load(Saved, saved)
            except msgspec.MsgspecError:  # of another version; what was seen since counts
                continue
        return found


async def keep(engine: AsyncEngine, name: str, node: str, saved: Saved) -> None:
    """Write down what a node has seen.

    Raises:
        one of OUTAGES.
    """
    row = {"name": name, "node": node, "saved": save(saved), "changed_at": int(time.time() * 1_000)}
    await _put(engine, tallies, ("name", "node"), row)


async def _put(engine: AsyncEngine, table: Table, keys: tuple[str, ...], row: Mapping[str, Any]) -> None:
    insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(table).values(dict(row))
    changes = {name: insert.excluded[name] for name in row if name not in keys}
    async with engine.begin() as connection:
        await connection.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=changes))
