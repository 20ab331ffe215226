"""Builds policies and plugins from the lists in the configuration; each Extension object once, whatever it serves as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.composition.context import Builder
from gateway.config_file import Path
from gateway.contracts.plugin import Extension
from gateway.errors import ConfigError
from gateway.registry import PLUGIN_KINDS, Kind
from gateway.settings import Entry
from gateway.validation import readable

Named = tuple[str, Any]


def build_policies(entries: Sequence[Entry], kind: Kind, path: Path, builder: Builder) -> list[Named]:
    """Build one list of policies, in its order."""
    built = []
    for index, entry in readable(entries):
        where = (*path, index)
        name = _name(entry, where, builder)
        if name is None:
            continue
        try:
            extension = builder.registry.get(kind, name)
        except ConfigError as error:
            builder.validator.problem((*where, "use"), error.message)
            continue
        policy = builder.build(extension, _rest(entry), where)
        if policy is not None:
            built.append((name, policy))
    return built


def build_plugins(entries: Sequence[Entry], builder: Builder) -> dict[Kind, list[Named]]:
    """Build all that `plugins:` names, and what runs unasked; by kind, in the order of the configuration."""
    built: dict[Kind, list[Named]] = {kind: [] for kind in PLUGIN_KINDS}
    used: set[str] = set()
    for index, entry in readable(entries):
        where: Path = ("plugins", index)
        name = _name(entry, where, builder)
        if name is None:
            continue
        if name in used:
            builder.validator.problem((*where, "use"), f"{name!r} stands twice")
        used.add(name)
        try:
            found = builder.registry.find(name, PLUGIN_KINDS)
        except ConfigError as error:
            builder.validator.problem((*where, "use"), error.message)
            continue
        _build_once(found, _rest(entry), where, builder, built)
    unasked: dict[str, dict[Kind, Extension[Any]]] = {}
    for kind, extension in builder.registry.automatic():
        if extension.name not in used:
            unasked.setdefault(extension.name, {})[kind] = extension
    for found in unasked.values():
        _build_once(found, {}, ("plugins",), builder, built)
    return built


def _build_once(
    found: dict[Kind, Extension[Any]], settings: Any, path: Path, builder: Builder, built: dict[Kind, list[Named]]
) -> None:
    """An Extension object that came through several hooks is built once and serves as each of those kinds."""
    instances: dict[int, Any] = {}
    for kind, extension in found.items():
        if id(extension) not in instances:
            instances[id(extension)] = builder.build(extension, settings, path)
        if instances[id(extension)] is not None:
            built[kind].append((extension.name, instances[id(extension)]))


def _name(entry: Entry, path: Path, builder: Builder) -> str | None:
    name = entry.get("use")
    if isinstance(name, str) and name:
        return name
    builder.validator.problem((*path, "use"), "missing; it must be the name of an extension (see `moegate plugins`)")
    return None


def _rest(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != "use"}
