"""The SQL that takes a batch, for each dialect: however many rows, it is the same text.

PostgreSQL is given the rows as one JSON text, which it takes apart itself: asyncpg would encode each value on the event
loop, at 100 µs a row. SQLite is given them one by one, in its own thread.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Table

from plugins.ledger import tables


class Statement(Struct, frozen=True):
    """An insert into one table."""

    text: str
    names: tuple[str, ...]
    as_json: bool

    def parameters(self, rows: list[tuple[Any, ...]]) -> Any:
        """The rows as the statement wants them. Takes its time; for a thread."""
        if not self.as_json:
            return rows
        if self.names[0] == "id":
            rows = [(f"\\x{row[0].hex()}", *row[1:]) for row in rows]
        return (msgspec.json.encode([dict(zip(self.names, row, strict=True)) for row in rows]).decode(),)


class Statements(Struct, frozen=True):
    """What to run. On PostgreSQL `calls` returns the ids that are new; on SQLite `known` is asked before which are there."""

    calls: Statement
    known: str | None
    days: Statement
    user_days: Statement
    losses: Statement
    journal: Statement


def statements_for(dialect: str) -> Statements:
    """The statements of SQLAlchemy's dialect of that name."""
    as_json = dialect == "postgresql"

    def insert(table: Table, conflict: str) -> Statement:
        source = _unpacked(table) if as_json else f"VALUES ({', '.join('?' for _ in table.columns)})"
        text = f"INSERT INTO {table.name} ({_names(table)}) {source} ON CONFLICT {conflict}"
        return Statement(text, tuple(column.name for column in table.columns), as_json)

    return Statements(
        calls=insert(tables.calls, "DO NOTHING RETURNING call_id" if as_json else "DO NOTHING"),
        known=None if as_json else "SELECT call_id FROM ledger_calls WHERE call_id IN (SELECT value FROM json_each(?))",
        days=insert(tables.days, _adding(tables.days)),
        user_days=insert(tables.user_days, _adding(tables.user_days)),
        losses=insert(tables.losses, "DO NOTHING"),
        journal=insert(tables.journals, _replacing(tables.journals)),
    )


def _unpacked(table: Table) -> str:
    return f"SELECT {_names(table)} FROM json_populate_recordset(NULL::{table.name}, $1::text::json)"  # noqa: S608 - our own names


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _adding(table: Table) -> str:
    sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in tables.SUMS)
    return f"(id) DO UPDATE SET {sums}"


def _replacing(table: Table) -> str:
    new = ", ".join(f"{column.name} = excluded.{column.name}" for column in table.columns if not column.primary_key)
    return f"(name) DO UPDATE SET {new}"
