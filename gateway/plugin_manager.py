"""Finds plugins: our own by one tuple of names, others by their entry point; the only file but hookspecs that knows pluggy."""

from __future__ import annotations

import importlib
import importlib.metadata

import pluggy

from gateway import hookspecs
from gateway.errors import ConfigError

ENTRY_POINT_GROUP = "moegate"

# Our own extensions come through the same hooks as anyone's; this tuple stands in for their entry points.
BUILT_INS = (
    "backends.openai_compatible",
    "backends.torch_reference.plugin",
    "backends.vllm",
    "plugins.api_keys",
    "plugins.engine_supervisor",
    "plugins.prometheus",
    "policies.admission.concurrency_limit",
    "policies.routing.context_fit",
    "policies.routing.least_loaded",
)


def load_plugins(built_ins: tuple[str, ...] = BUILT_INS) -> pluggy.PluginManager:
    """Register every plugin and check it against the hook specifications.

    Raises:
        ConfigError: a plugin cannot be imported, or implements a hook that does not exist or that takes arguments.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        for name in built_ins:
            manager.register(importlib.import_module(name), name)
        _load_entry_points(manager)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ConfigError(f"plugin {_name_of(manager, error.plugin)!r} does not fit the hooks: {error}") from error
    return manager


def _load_entry_points(manager: pluggy.PluginManager) -> None:
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        if manager.has_plugin(point.name):
            raise ConfigError(f"two plugins are named {point.name!r}; one of them is the entry point {point.value!r}")
        try:
            module = point.load()
        except Exception as error:
            raise ConfigError(f"plugin {point.name!r} ({point.value}) cannot be imported: {error!r}") from error
        manager.register(module, point.name)


def version_of(plugin_name: str) -> str:
    """The version of the distribution that a plugin came with; ours for a built-in."""
    if plugin_name in BUILT_INS:
        return importlib.metadata.version(hookspecs.PROJECT)
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=plugin_name):
        if point.dist is not None:
            return point.dist.version
    return "unknown"


def _name_of(manager: pluggy.PluginManager, plugin: object) -> str:
    return manager.get_name(plugin) or repr(plugin)
