"""The database of a configuration: its engine, and its tables brought up to date once, however many processes start together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from weakref import WeakKeyDictionary

import structlog
from alembic.util import CommandError
from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.contracts.database import Schema
from gateway.database.engines import address, create_engine, create_upgrade_engine
from gateway.database.histories import History, SchemaState, histories
from gateway.errors import ConfigError

log = structlog.get_logger("moegate.database")

UPGRADE = "run moegate db upgrade --config FILE"

# One number for all gateways that share a PostgreSQL database; any would do that no other program there uses.
_LOCK = int.from_bytes(b"moegate")
_LOCK_WAIT = "60s"

# Alembic's operations have one current target per process, so that two upgrades must not take turns.
_upgrading: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class SqlDatabase:
    """The `Database` of one URL.

    Args:
        url: as in `database:` of the configuration.

    Raises:
        ConfigError: there is no such kind of database.
    """

    def __init__(self, url: str) -> None:
        self._place = address(url)
        self._engine = create_engine(self._place)

    def __repr__(self) -> str:
        return f"SqlDatabase({self.where})"

    @property
    def engine(self) -> AsyncEngine:
        """The engine; see `Database.engine`."""
        return self._engine

    @property
    def where(self) -> str:
        """Which database it is, for people; no password."""
        return self._place.where

    async def states(self, schemas: Sequence[Schema]) -> list[SchemaState]:
        """Where the database stands with each schema; nothing is changed.

        Raises:
            ConfigError: the database cannot be reached, or a schema is broken.
        """
        wanted = histories(schemas)
        if self._place.file is not None and not self._place.file.exists():
            return [SchemaState(history.name, None, history.head, known=True) for history in wanted]
        async with self._connected() as connection:
            return await connection.run_sync(_states, wanted)

    async def prepare(self, schemas: Sequence[Schema], *, upgrade: bool) -> None:
        """See to it that the tables are as the schemas want them.

        Each schema goes from where it is to its last revision in one transaction. Processes that do so at the same time
        wait for each other, and find it done.

        Args:
            schemas: all that are registered.
            upgrade: whether to change what is behind, rather than to refuse it.

        Raises:
            ConfigError: the database cannot be reached; it is behind, and `upgrade` is not set; or a newer version has
                been here.
        """
        wanted = histories(schemas)
        if not wanted:
            return
        found = await self.states(schemas)
        _refuse_unknown(found)
        behind = [history for history, state in zip(wanted, found, strict=True) if not state.current]
        if not behind:
            return
        if not upgrade:
            raise ConfigError(
                *(
                    f"database: the tables of {state.name!r} are {_at(state)}, and this version needs {state.head}; {UPGRADE}"
                    for state in found
                    if not state.current
                )
            )
        self._keep_private()
        loop = asyncio.get_running_loop()
        async with _upgrading.setdefault(loop, asyncio.Lock()):
            for history in behind:
                await self._upgrade(history)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def _upgrade(self, history: History) -> None:
        async with self._connected() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'"))
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            # Only now: another process may have been faster.
            before = await connection.run_sync(history.state)
            _refuse_unknown([before])
            if before.current:
                return
            await connection.run_sync(_run, history)
        log.info("tables upgraded", schema=history.name, came_from=before.at, now=history.head)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on a connection that is closed afterwards; no other loop or process gets to use it."""
        engine = create_upgrade_engine(self._place)
        try:
            with self._failures():
                self._check_file()
                async with engine.begin() as connection:
                    yield connection
        finally:
            await engine.dispose()

    def _check_file(self) -> None:
        """Open SQLite's file once by hand: if that fails within aiosqlite, its thread outlives the event loop and complains."""
        if self._place.file is not None:
            sqlite3.connect(self._place.file).close()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, CommandError, sqlite3.Error, PostgresError, InterfaceError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            reason = str(cause) or ("no answer in time" if isinstance(cause, TimeoutError) else type(cause).__name__)
            # Without the chain: what lies below may hold the password.
            raise ConfigError(f"database: {self.where}: {self._place.censored(reason)}") from None

    def _keep_private(self) -> None:
        """SQLite's files get the permissions of the first one; what is in them is nobody else's business."""
        file = self._place.file
        if file is not None:
            with contextlib.suppress(OSError):  # the database itself will say what is wrong
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _states(connection: Connection, wanted: Sequence[History]) -> list[SchemaState]:
    return [history.state(connection) for history in wanted]


def _run(connection: Connection, history: History) -> None:
    history.upgrade(connection)
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise ConfigError(
                f"database: after the upgrade of {history.name!r}, a row of {broken[0]!r} would point to nothing in "
                f"{broken[2]!r}; nothing was changed"
            )


def _refuse_unknown(states: Sequence[SchemaState]) -> None:
    problems = [
        f"database: the tables of {state.name!r} are {_at(state)}, which this version of moegate does not know; "
        "a newer one has upgraded them: run that one, or restore a backup"
        for state in states
        if not state.known
    ]
    if problems:
        raise ConfigError(*problems)


def _at(state: SchemaState) -> str:
    return f"at revision {state.at}" if state.at else "not there yet"
