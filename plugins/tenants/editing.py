"""One change to the tables: counted, written and audited in a single transaction, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]
from sqlalchemy import ColumnElement, Table, insert, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from plugins.tenants import tables
from plugins.tenants.failures import DatabaseUnavailable
from plugins.tenants.model import Change, Key, Team, Tenant, Terms, terms_of, told
from plugins.tenants.rows import encode, terms_columns

# Connecting to PostgreSQL raises the driver's own errors, everything after it SQLAlchemy's.
DATABASE_ERRORS = (SQLAlchemyError, PostgresError, InterfaceError, OSError, TimeoutError)


class Edit:
    """The transaction in which everything here is changed.

    Attributes:
        revision: what every row that it writes gets.
        now: seconds since 1970.
        changes: what was done so far.
    """

    def __init__(self, connection: AsyncConnection, revision: int, now: int, actor: str) -> None:
        self.connection = connection
        self.revision = revision
        self.now = now
        self.changes: list[Change] = []
        self._actor = actor
        self._new: dict[Table, list[dict[str, Any]]] = {tables.tenants: [], tables.teams: [], tables.keys: []}

    def insert(self, table: Table, columns: dict[str, Any], change: Change) -> None:
        """Write a new row, with all others at the end."""
        self._new[table].append({**columns, "created_at": self.now, "revision": self.revision})
        self.changes.append(change)

    async def update(
        self, table: Table, where: Sequence[ColumnElement[bool]], columns: dict[str, Any], change: Change
    ) -> None:
        """Change a row."""
        await self.connection.execute(update(table).where(*where).values({**columns, "revision": self.revision}))
        self.changes.append(change)

    async def write(self) -> None:
        """Write what is new, owners before what is theirs, and the audit of everything."""
        for table, rows in self._new.items():
            if rows:
                await self.connection.execute(insert(table), rows)
        await self.connection.execute(insert(tables.audit), [self._audited(change) for change in self.changes])

    def _audited(self, change: Change) -> dict[str, Any]:
        return {
            "at": self.now,
            "actor": self._actor[:200],
            "action": change.action,
            "tenant": change.tenant,
            "subject": change.subject,
            "fields": encode(change.fields),
        }


@contextlib.asynccontextmanager
async def editing(engine: AsyncEngine, actor: str, now: float, *, dry_run: bool = False) -> AsyncIterator[Edit]:
    """Change something, all of it or nothing; a dry run does it all and then takes it back.

    Raises:
        DatabaseUnavailable: the database failed; nothing was changed.
    """
    with database_failures():
        async with engine.connect() as connection, connection.begin() as transaction:
            # Counted first: whoever else wants to change something waits here, so what is read below stays true.
            counted = update(tables.revisions).values(value=tables.revisions.c.value + 1)
            revision = await connection.scalar(counted.returning(tables.revisions.c.value))
            if revision is None:
                raise DatabaseUnavailable("the table tenants_revision has lost its row")
            edit = Edit(connection, revision, int(now), actor)
            yield edit
            if edit.changes:
                await edit.write()
            if dry_run or not edit.changes:
                await transaction.rollback()


@contextlib.contextmanager
def database_failures() -> Any:
    """Turn what a database may raise into one error.

    Raises:
        DatabaseUnavailable: instead.
    """
    try:
        yield
    except DATABASE_ERRORS as error:
        raise DatabaseUnavailable(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """What a database's error says, without the statement and the values in it."""
    own = getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else error
    return f"{type(own or error).__name__}: {own or ''}"[:300]


def differences(before: Tenant | Team | Key, terms: Terms, *, disabled: bool | None) -> dict[str, tuple[Any, Any]]:
    """What would change, by field, as plain data. `disabled` None leaves that as it is."""
    found = {
        field: (told(getattr(before, field)), told(value))
        for field, value in terms_of(terms).items()
        if getattr(before, field) != value
    }
    if disabled is not None and disabled != (before.disabled_at is not None):
        found["disabled"] = (not disabled, disabled)
    return found


def given(terms: Terms, *, disabled: bool | None) -> dict[str, tuple[Any, Any]]:
    """What a new row has that is not the default, by field."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(type(terms))}
    found = {
        field: (None, told(value))
        for field, value in terms_of(terms).items()
        if value is not None and value != defaults.get(field) and value not in ((), {})
    }
    return {**found, "disabled": (False, True)} if disabled else found


def changed_columns(edit: Edit, terms: Terms, fields: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The columns of the fields that change."""
    columns = {name: value for name, value in terms_columns(terms).items() if name in fields}
    if "disabled" in fields:
        columns["disabled_at"] = edit.now if fields["disabled"][1] else None
    return columns


def action(kind: str, fields: dict[str, tuple[Any, Any]]) -> str:
    """What a change of these fields is called."""
    if set(fields) == {"disabled"}:
        return f"{kind}.disable" if fields["disabled"][1] else f"{kind}.enable"
    return f"{kind}.change"
