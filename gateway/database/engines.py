"""From a URL to SQLAlchemy engines, SQLite's and PostgreSQL's, set up so that neither can surprise; runs no SQL of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from gateway.errors import ConfigError

FORMS = "it must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME"

SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})

POOL_CONNECTIONS = 5
MORE_CONNECTIONS = 5
POOL_WAIT_SECONDS = 10.0
CONNECT_SECONDS = 5.0
# A connection whose other end has vanished without a word must not hang for ever.
STATEMENT_SECONDS = 300.0
SQLITE_BUSY_SECONDS = 10.0
SQLITE_UPGRADE_BUSY_SECONDS = 60.0

# SQLite runs these outside of transactions only.
_NOT_IN_TRANSACTIONS = ("PRAGMA", "VACUUM")


class Address(Struct, frozen=True):
    """Where a database is.

    Attributes:
        file: of SQLite; None for PostgreSQL.
        where: for people, without the password.
    """

    url: URL
    file: Path | None
    where: str

    def censored(self, text: str) -> str:
        """The text without the password, should it be in there."""
        secret = self.url.password
        return text.replace(str(secret), "***") if secret else text


def address(text: str) -> Address:
    """Read a URL.

    Raises:
        ConfigError: it is none of the two forms. The message does not repeat the URL: there may be a password in it.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(f"database: not a database URL; {FORMS}") from None
    if url.drivername == "sqlite":
        return _sqlite(url)
    if url.drivername == "postgresql":
        return _postgresql(url)
    raise ConfigError(f"database: {url.drivername!r} is not supported; {FORMS}")


def _sqlite(url: URL) -> Address:
    if url.host or url.username:
        raise ConfigError(
            "database: a SQLite URL has three slashes before a relative path, four before an absolute one"
        )
    if url.query:
        raise ConfigError(f"database: a SQLite URL takes no options; {FORMS}")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError("database: SQLite needs a file; what is in memory is lost with the process")
    file = Path(url.database)
    return Address(url.set(drivername="sqlite+aiosqlite"), file, f"SQLite, {file}")


def _postgresql(url: URL) -> Address:
    if not url.database:
        raise ConfigError(f"database: no name of a database; {FORMS}")
    unknown = sorted(set(url.query) - {"sslmode"})
    if unknown:
        raise ConfigError(f"database: unknown option {unknown[0]!r} in the URL; `sslmode` is the only one")
    if url.query.get("sslmode", "prefer") not in SSL_MODES:
        raise ConfigError(f"database: sslmode must be one of {', '.join(sorted(SSL_MODES))}")
    where = f"PostgreSQL, {url.database} at {url.host or 'this machine'}:{url.port or 5432}"
    return Address(url.set(drivername="postgresql+asyncpg"), None, where)


def create_engine(place: Address) -> AsyncEngine:
    """The engine that extensions share. It connects when it is first used."""
    if place.file is not None:
        engine = create_async_engine(
            place.url,
            pool_size=POOL_CONNECTIONS,
            max_overflow=MORE_CONNECTIONS,
            pool_timeout=POOL_WAIT_SECONDS,
            connect_args={"timeout": SQLITE_BUSY_SECONDS},
        )
        _listen_sqlite(engine, foreign_keys=True)
        event.listen(engine.sync_engine, "before_cursor_execute", _begin_with_first_statement)
        return engine
    return create_async_engine(
        _without_options(place.url),
        pool_size=POOL_CONNECTIONS,
        max_overflow=MORE_CONNECTIONS,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        connect_args=_postgresql_arguments(place.url, STATEMENT_SECONDS),
    )


def create_upgrade_engine(place: Address) -> AsyncEngine:
    """An engine for one use: every transaction holds SQLite's write lock, and no statement of PostgreSQL is cut off."""
    if place.file is not None:
        arguments = {"timeout": SQLITE_UPGRADE_BUSY_SECONDS}
        engine = create_async_engine(place.url, poolclass=NullPool, connect_args=arguments)
        # Alembic changes a table by building it anew; that must not delete what points to it.
        _listen_sqlite(engine, foreign_keys=False)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
        return engine
    arguments = _postgresql_arguments(place.url, None)
    return create_async_engine(_without_options(place.url), poolclass=NullPool, connect_args=arguments)


def _listen_sqlite(engine: AsyncEngine, *, foreign_keys: bool) -> None:
    def connected(connection: Any, _: object) -> None:
        # Python's own idea of when a transaction begins leaves out reads and changes of tables.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # NORMAL could forget in a power cut that a key was revoked; commits are few here.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", connected)


def _begin_with_first_statement(connection: Connection, cursor: Any, statement: str, *_: object) -> None:
    """Every transaction is one, reads included; it begins as late as it can, so that a `PRAGMA` may come first."""
    if statement[:6].upper() in _NOT_IN_TRANSACTIONS:
        return
    driver = connection.connection.driver_connection
    if driver is not None and not driver.in_transaction:
        cursor.execute("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _without_options(url: URL) -> URL:
    return url.set(query={})


def _postgresql_arguments(url: URL, statement_seconds: float | None) -> dict[str, Any]:
    return {
        "timeout": CONNECT_SECONDS,
        "command_timeout": statement_seconds,
        "ssl": url.query.get("sslmode", "prefer"),
        "server_settings": {"application_name": "moegate"},
    }
