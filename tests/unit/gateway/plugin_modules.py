"""Makes plugins out of functions, and a plugin manager or a registry that knows them beside, or instead of, our own."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pluggy

from gateway import Extension, NoSettings, hookimpl
from gateway.plugin_manager import load_plugins
from gateway.registry import Registry


def plugin(**hooks: Callable[..., Any]) -> ModuleType:
    """A plugin module; each argument is named after the hook that it implements."""
    module = ModuleType("a_plugin_of_a_test")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


def extension(name: str, built: object = None, **changes: Any) -> Extension[Any]:
    """An extension without settings that is `built` whenever it is built."""
    fields: dict[str, Any] = {"name": name, "settings": NoSettings, "build": lambda _, __: built, **changes}
    return Extension(**fields)


def manager_of(*plugins: ModuleType, built_ins: tuple[str, ...] = ()) -> pluggy.PluginManager:
    """A plugin manager with these plugins, named `p0`, `p1` and so on, after the built-in ones."""
    manager = load_plugins(built_ins)
    for number, module in enumerate(plugins):
        manager.register(module, f"p{number}")
    return manager


def registry_of(*plugins: ModuleType, built_ins: tuple[str, ...] = ()) -> Registry:
    """A registry of what those plugins register."""
    return Registry.from_plugins(manager_of(*plugins, built_ins=built_ins))
