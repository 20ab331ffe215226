"""What a build shares with other processes and reloads: the database, the store of budgets; made when something asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.contracts.store import BudgetStore
from gateway.database import SqlDatabase
from gateway.errors import ConfigError
from gateway.registry import Kind
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.composition.context import Builder


class SharedState:
    """The database and the store of one build."""

    def __init__(self, settings: Settings, builder: Builder) -> None:
        self._settings = settings
        self._builder = builder
        self._database: SqlDatabase | None = None
        self._store: BudgetStore | None = None

    @property
    def database(self) -> SqlDatabase:
        """The database; asking for it has its tables looked at before anything starts."""
        if self._database is None:
            url = self._settings.database.reveal()
            self._database = self._builder.shared(("database", url), lambda: SqlDatabase(url))
        return self._database

    @property
    def store(self) -> BudgetStore:
        """The store that the URL's scheme names.

        Raises:
            ConfigError: no plugin gives such a store, or it cannot be built.
        """
        if self._store is None:
            url = self._settings.state.reveal()
            self._store = self._builder.shared(("store", url), self._build_store)
            self._builder.meters.add(url.partition("://")[0], self._store)  # an earlier runtime may have built it
        return self._store

    def _build_store(self) -> BudgetStore:
        extension = self._builder.registry.get(Kind.STORE, self._settings.state.reveal().partition("://")[0])
        built: BudgetStore | None = self._builder.build(extension, {"url": self._settings.state}, ("state",))
        if built is None:
            raise ConfigError("the store that `state` names cannot be built")
        return built

    async def prepare(self) -> None:
        """Bring the tables up to date if anything uses the database: SQLite here and now, others must be so already.

        Raises:
            ConfigError: the database cannot be reached, or `moegate db upgrade` is due.
        """
        if self._database is not None:
            upgrade = self._database.engine.dialect.name == "sqlite"
            await self._database.prepare(self._builder.registry.schemas, upgrade=upgrade)
