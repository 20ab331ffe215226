"""Every registered extension by kind and name; refuses duplicates, and answers an unknown name with its nearest ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gateway.contracts.database import Schema
from gateway.contracts.plugin import Extension
from gateway.errors import ConfigError
from gateway.plugin_manager import load_plugins, version_of

if TYPE_CHECKING:
    import pluggy


class Kind(StrEnum):
    """What an extension is; the value is the name of the hook it came through, without the prefix."""

    BACKEND = "backends"
    ADMISSION_POLICY = "admission_policies"
    ROUTING_POLICY = "routing_policies"
    ATTRIBUTION_POLICY = "attribution_policies"
    AUTHENTICATOR = "authenticators"
    JOURNAL = "journals"
    RECORDER = "recorders"
    CALL_TRANSFORM = "call_transforms"
    ASSIGNER = "assigners"
    SERVICE = "services"
    ROUTES = "routes"
    STORE = "stores"
    TARGET_SOURCE = "target_sources"

    @property
    def hook(self) -> str:
        """The hook that gives extensions of this kind."""
        return f"moegate_{self.value}"


# What an entry of `plugins:` may be; the other kinds are named where they are used.
PLUGIN_KINDS = (
    Kind.AUTHENTICATOR, Kind.CALL_TRANSFORM, Kind.ASSIGNER, Kind.JOURNAL, Kind.RECORDER, Kind.SERVICE, Kind.ROUTES,
)  # fmt: skip


class Registered(Struct, frozen=True):
    """An extension and where it came from."""

    kind: Kind
    extension: Extension[Any]
    plugin: str
    version: str


class Registry:
    """Name → Extension, per kind."""

    def __init__(self, registered: Iterable[Registered] = (), schemas: Iterable[Schema] = ()) -> None:
        self.schemas = tuple(schemas)
        self._by_kind: dict[Kind, dict[str, Registered]] = {kind: {} for kind in Kind}
        for entry in registered:
            self._add(entry)

    @classmethod
    def from_plugins(cls, manager: pluggy.PluginManager | None = None) -> Registry:
        """Ask every plugin for its extensions.

        Raises:
            ConfigError: a plugin is broken, or two register one name for one kind.
        """
        manager = manager if manager is not None else load_plugins()
        return cls(
            (
                Registered(kind, _checked(extension, plugin, kind), plugin, version_of(plugin))
                for kind in Kind
                for plugin, extensions in call_hook(manager, kind.hook)
                for extension in extensions
            ),
            (schema for _, schemas in call_hook(manager, "moegate_schemas") for schema in schemas),
        )

    def _add(self, entry: Registered) -> None:
        names = self._by_kind[entry.kind]
        name = entry.extension.name
        if name in names:
            raise ConfigError(
                f"two plugins register {name!r} in {entry.kind.hook}: {names[name].plugin!r} and {entry.plugin!r}"
            )
        if entry.extension.automatic and entry.kind not in PLUGIN_KINDS:
            raise ConfigError(f"plugin {entry.plugin!r}: {name!r} of {entry.kind.hook} cannot be automatic")
        names[name] = entry

    def __iter__(self) -> Iterator[Registered]:
        for names in self._by_kind.values():
            yield from names.values()

    def get(self, kind: Kind, name: str) -> Extension[Any]:
        """Find one extension.

        Raises:
            ConfigError: nothing of that kind has that name; the message lists near names, or all if none is near.
        """
        names = self._by_kind[kind]
        if name not in names:
            raise ConfigError(f"nothing is registered as {name!r} in {kind.value}; {nearest(name, names)}")
        return names[name].extension

    def find(self, name: str, kinds: Iterable[Kind]) -> dict[Kind, Extension[Any]]:
        """Every extension of that name among the kinds.

        Raises:
            ConfigError: there is none.
        """
        kinds = tuple(kinds)
        found = {kind: self._by_kind[kind][name].extension for kind in kinds if name in self._by_kind[kind]}
        if not found:
            known = {known for kind in kinds for known in self._by_kind[kind]}
            raise ConfigError(f"no plugin is registered as {name!r}; {nearest(name, known)}")
        return found

    def automatic(self) -> Iterator[tuple[Kind, Extension[Any]]]:
        """Extensions that run even when the configuration does not name them."""
        for entry in self:
            if entry.extension.automatic:
                yield entry.kind, entry.extension


def call_hook(manager: pluggy.PluginManager, hook: str) -> Iterator[tuple[str, list[Any]]]:
    """Call one hook, plugin by plugin, in the order of registration.

    Yields:
        The plugin's name and the list of what it returned.

    Raises:
        ConfigError: a plugin's hook raised, or returned something that cannot be iterated over.
    """
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            returned = list(implementation.function())
        except Exception as error:
            raise ConfigError(f"plugin {implementation.plugin_name!r} failed in {hook}: {error!r}") from error
        yield implementation.plugin_name, returned


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause for an error's end: the names near to a wrong one, or all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return "did you mean " + " or ".join(repr(match) for match in near) + "?"
    return "known: " + (", ".join(known) or "none")


def _checked(extension: object, plugin: str, kind: Kind) -> Extension[Any]:
    if isinstance(extension, Extension):
        return extension
    raise ConfigError(f"plugin {plugin!r} returned {type(extension).__name__!r} from {kind.hook}, not an Extension")
