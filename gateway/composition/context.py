"""What one build has in its hands: the settings' validator, the registry, shared objects; and what extensions see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gateway.composition.directories import Directories
from gateway.composition.metrics import Meters
from gateway.composition.state import SharedState
from gateway.config_file import Path
from gateway.contracts.call import Model
from gateway.contracts.database import Database
from gateway.contracts.metrics import Metric
from gateway.contracts.plugin import Extension, Fleet
from gateway.contracts.store import BudgetStore
from gateway.errors import ConfigError
from gateway.registry import Registry
from gateway.shared import Key, SharedObjects
from gateway.tokens import LearnedCounter
from gateway.validation import INVALID, Validator

T = TypeVar("T")


class Builder:
    """One build. It is the `BuildContext` that extensions get; what it adds is for this package alone."""

    def __init__(self, registry: Registry, validator: Validator, shared: SharedObjects) -> None:
        self.registry = registry
        self.validator = validator
        self.held: list[Key] = []
        self.models: Sequence[Model] = ()
        self.meters = Meters()
        self.directory = Directories()
        self._fleet: Fleet | None = None
        self._state: SharedState | None = None
        self._shared = shared

    @property
    def fleet(self) -> Fleet:
        """The replicas; backends are built before there are any."""
        if self._fleet is None:
            raise RuntimeError("backends are built before the fleet, and must not ask for it")
        return self._fleet

    @fleet.setter
    def fleet(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @property
    def state(self) -> SharedState:
        """The database and the store; known as soon as the settings are."""
        if self._state is None:
            raise RuntimeError("nothing is built before the settings are read")
        return self._state

    @state.setter
    def state(self, state: SharedState) -> None:
        self._state = state

    @property
    def database(self) -> Database:
        """The SQL database; see `BuildContext.database`."""
        return self.state.database

    @property
    def store(self) -> BudgetStore:
        """The budgets; see `BuildContext.store`."""
        return self.state.store

    @property
    def tokens(self) -> LearnedCounter:
        """The token counter, with all that it has learnt."""
        return self.shared(("tokens",), LearnedCounter)

    def metrics(self) -> list[Metric]:
        """What all that was built has counted; see `BuildContext.metrics`."""
        return self.meters.gather()

    def shared(self, key: Key, create: Callable[[], T]) -> T:
        """An object that outlives a reload; see `BuildContext.shared`."""
        found = self._shared.hold(key, create)
        self.held.append(key)
        return found

    async def release(self) -> None:
        """Let go of all shared objects, last first; those that take long to close do so at the same time."""
        held, self.held = self.held[::-1], []
        await asyncio.gather(*(self._shared.release(key) for key in held))

    def build(self, extension: Extension[T], settings: Any, path: Path) -> T | None:
        """Validate an extension's settings and build it; None, and a problem noted, if that fails."""
        valid = self.validator.extension_settings(settings, extension.settings, path)
        if valid is INVALID:
            return None
        try:
            built = extension.build(valid, self)
        except ConfigError as error:
            for problem in error.problems:
                self.validator.problem(path, problem)
        except Exception as error:  # noqa: BLE001 - a stranger's plugin; its fault belongs in the list with the others
            self.validator.problem(path, f"{extension.name} cannot be built: {error!r}")
        else:
            self.meters.add(extension.name, built)
            self.directory.add(built)
            return built
        return None
