"""Finds plugins: our own by one tuple of names, others by their entry point; the only file but hookspecs that knows pluggy."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from functools import partial

import pluggy

from gateway import hookspecs
from gateway.errors import ConfigError

ENTRY_POINT_GROUP = "moegate"

# Our own extensions come through the same hooks as anyone's; this tuple stands in for their entry points.
BUILT_INS = (
    "backends.ktransformers",
    "backends.llama_cpp",
    "backends.openai_compatible",
    "backends.sglang",
    "backends.tensorrt_llm",
    "backends.torch_reference.plugin",
    "backends.vllm",
    "plugins.api_keys",
    "plugins.bench",
    "plugins.decisions",
    "plugins.discovery_dns",
    "plugins.discovery_file",
    "plugins.discovery_kubernetes",
    "plugins.engine_supervisor",
    "plugins.engine_verify",
    "plugins.experiments",
    "plugins.ledger",
    "plugins.memory_store",
    "plugins.oidc",
    "plugins.prometheus",
    "plugins.replicas",
    "plugins.tenants",
    "plugins.valkey_store",
    "policies.admission.concurrency_limit",
    "policies.admission.fair_queue",
    "policies.admission.quotas",
    "policies.attribution.model_licence",
    "policies.routing.capacity_weighted",
    "policies.routing.context_fit",
    "policies.routing.cost_aware",
    "policies.routing.least_loaded",
    "policies.routing.peak_ewma",
    "policies.routing.pin",
    "policies.routing.predicted_ttft",
    "policies.routing.prefix_affinity",
    "policies.routing.priority_tiers",
    "policies.routing.round_robin",
    "policies.routing.session_affinity",
    "policies.routing.time_window",
    "policies.routing.weighted",
)

DEFAULT_ROUTING = ("pin", "context_fit", "predicted_ttft", "prefix_affinity")
"""How calls are routed where the configuration does not say; each with its default settings, in this order."""


def load_plugins(built_ins: tuple[str, ...] = BUILT_INS) -> pluggy.PluginManager:
    """Register every plugin and check it against the hook specifications.

    Raises:
        ConfigError: a plugin cannot be imported, or implements no hook, one that does not exist, or one with arguments.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for name in built_ins:
        _register(manager, name, name, partial(importlib.import_module, name))
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        if manager.has_plugin(point.name):
            raise ConfigError(f"two plugins are named {point.name!r}; one of them is the entry point {point.value!r}")
        _register(manager, point.name, point.value, point.load)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _misfit(manager.get_name(error.plugin), error) from error
    return manager


def _register(manager: pluggy.PluginManager, name: str, source: str, load: Callable[[], object]) -> None:
    try:
        plugin = load()
    except Exception as error:
        raise ConfigError(f"plugin {name!r} ({source}) cannot be imported: {error!r}") from error
    try:
        manager.register(plugin, name)
    except ValueError as error:
        raise ConfigError(f"plugin {name!r} ({source}) is registered under another name already") from error
    except pluggy.PluginValidationError as error:
        raise _misfit(name, error) from error
    if not manager.get_hookcallers(plugin):
        raise ConfigError(f"plugin {name!r} ({source}) implements no hook; it must name a module with `@hookimpl`s")


def version_of(plugin_name: str) -> str:
    """The version of the distribution that a plugin came with; ours for a built-in."""
    if plugin_name in BUILT_INS:
        return importlib.metadata.version(hookspecs.PROJECT)
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=plugin_name):
        if point.dist is not None:
            return point.dist.version
    return "unknown"


def _misfit(name: str | None, error: pluggy.PluginValidationError) -> ConfigError:
    # pluggy's first line names the plugin by its module's path.
    return ConfigError(f"plugin {name!r} does not fit the hooks: {str(error).partition(chr(10))[2] or error}")
