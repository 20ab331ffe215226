"""One schema's history: its Alembic revisions, where a database stands in them, and the way to the last; decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from msgspec import Struct
from sqlalchemy import Connection

from gateway.contracts.database import Schema
from gateway.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class SchemaState(Struct, frozen=True):
    """Where a database stands with one schema.

    Attributes:
        at: the revision that its tables have; None if there are none yet.
        head: the last revision that this version of the gateway knows.
        known: whether this version of the gateway knows `at`.
    """

    name: str
    at: str | None
    head: str
    known: bool

    @property
    def current(self) -> bool:
        """Nothing is to be done."""
        return self.at == self.head


class History:
    """The revisions of one schema.

    Raises:
        ConfigError: its extension is broken: no revisions, or more than one line of descent.
    """

    def __init__(self, schema: Schema) -> None:
        self.name = schema.name
        if not _NAME.fullmatch(schema.name):
            raise ConfigError(f"a schema cannot be called {schema.name!r}: small letters, digits and _ only")
        try:
            self._script = ScriptDirectory(schema.revisions, version_locations=[schema.revisions])
            heads, bases = self._script.get_heads(), self._script.get_bases()
        except Exception as error:  # a stranger's revisions are code, and may raise anything
            raise ConfigError(f"the revisions of schema {schema.name!r} cannot be read: {error!r}") from error
        if len(heads) != 1 or len(bases) != 1:
            raise ConfigError(f"the revisions of schema {schema.name!r} must be one line of descent")
        self.head = heads[0]

    def state(self, connection: Connection) -> SchemaState:
        """Look where the database stands."""
        at = self._context(connection).get_current_revision()
        return SchemaState(self.name, at, self.head, known=at is None or self._knows(at))

    def upgrade(self, connection: Connection) -> None:
        """Take the tables to the last revision, within the transaction that the connection is in."""
        context = self._context(connection)
        with Operations.context(context):
            context.run_migrations()

    def _context(self, connection: Connection) -> MigrationContext:
        options = {
            "script": self._script,
            "version_table": f"moegate_schema_{self.name}",
            "fn": lambda at, _: self._script._upgrade_revs(self.head, at),  # noqa: SLF001 - Alembic's documented way
        }
        return MigrationContext.configure(connection, opts=options)

    def _knows(self, revision: str) -> bool:
        try:
            # By the whole identifier: Alembic would take the beginning of one, too.
            return self._script.get_revision(revision).revision == revision
        except CommandError:
            return False


def histories(schemas: Iterable[Schema]) -> list[History]:
    """Read the revisions of several schemas.

    Raises:
        ConfigError: an extension is broken, or two call their schema the same.
    """
    found: dict[str, History] = {}
    for schema in schemas:
        if schema.name in found:
            raise ConfigError(f"two plugins give a schema of the name {schema.name!r}")
        found[schema.name] = History(schema)
    return [*found.values()]
