"""What the admin API and the commands of licences refuse, beside what gateway.errors has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import ClientError, GatewayError

# Connecting to PostgreSQL raises the driver's own errors, everything after it SQLAlchemy's.
DATABASE_ERRORS = (SQLAlchemyError, PostgresError, InterfaceError, OSError, TimeoutError)


class NotFound(ClientError):
    """There is no such product, licence, key or team here."""

    status = 404
    code = "not_found"


class Conflict(ClientError):
    """It is there already, and is not the same."""

    status = 409
    code = "conflict"


class LedgerMissing(ClientError):
    """What a report is made of is not in this database."""

    status = 409
    code = "ledger_missing"


class DatabaseUnavailable(GatewayError):
    """The SQL database did not answer, or refused; nothing was changed."""

    status = 503
    code = "database_unavailable"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """A fixed text: what the database said is for the log."""
        return "The database cannot be reached now; nothing was changed."


class HistoryBroken(GatewayError):
    """The end of the history is not what was written last; nothing is written on top of that."""

    status = 500
    code = "history_broken"

    @property
    def public_message(self) -> str:
        """The message as it is: it tells what to do, and nothing of a row."""
        return self.message


@contextlib.contextmanager
def database_failures() -> Iterator[None]:
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
