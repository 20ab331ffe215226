"""Everything that can be plugged in: hooks are documented and exercised, built-ins listed, settings strict."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from msgspec import Struct

import gateway
from gateway import Backend, BuildContext, hookspecs
from gateway.contracts.backend import LaunchSettings
from gateway.plugin_manager import BUILT_INS
from gateway.registry import Kind, Registered, Registry
from gateway.settings import Settings, SourceSettings
from tests.architecture.sources import files, functions, module_of, package_files, strings, text, tree

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("moegate_"))
REGISTERED = list(Registry.from_plugins())


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str) -> None:
    docstring = inspect.getdoc(getattr(hookspecs, hook)) or ""
    assert "Called once" in docstring


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_exercised(hook: str) -> None:
    """By a test file of its own, which registers something through the hook and sees it at work."""
    name = f"tests/unit/gateway/hooks/test_{hook}.py"
    assert name in files(), f"{hook} has no test file {name}"
    keywords = {node.arg for node in ast.walk(tree(name)) if isinstance(node, ast.keyword)}
    assert hook in keywords or any(f"def {hook}" in value for value in strings(tree(name))), f"{name} never registers"
    assert any(function.name.startswith("test_") for function in functions(tree(name)))


def hook_implementations() -> dict[str, set[str]]:
    """Modules with functions marked as hooks, and which hooks those are."""
    found: dict[str, set[str]] = {}
    for name in package_files():
        for function in functions(tree(name)):
            marks = {mark.id for mark in function.decorator_list if isinstance(mark, ast.Name)}
            if "hookimpl" in marks:
                found.setdefault(module_of(name), set()).add(function.name)
    return found


def test_the_tuple_of_built_ins_is_complete() -> None:
    assert set(BUILT_INS) == set(hook_implementations())
    assert list(BUILT_INS) == sorted(set(BUILT_INS))


def test_everything_built_in_is_registered_through_a_hook_that_exists() -> None:
    for module, hooks in hook_implementations().items():
        assert hooks <= set(HOOKS), module


def settings_types(wanted: Any) -> Iterator[type[Struct]]:
    """A settings type and all that are nested in it."""
    if isinstance(wanted, type) and issubclass(wanted, Struct):
        yield wanted
        for field in msgspec.structs.fields(wanted):
            yield from settings_types(field.type)
    for argument in get_args(wanted):
        yield from settings_types(argument)


def all_settings() -> dict[str, type[Struct]]:
    """Every type that a part of the configuration is read into, by its name."""
    roots: list[type[Struct]] = [
        Settings,
        SourceSettings,
        LaunchSettings,
        *(entry.extension.settings for entry in REGISTERED),
    ]
    context: Any = BuildContext
    for entry in REGISTERED:
        if entry.kind is Kind.BACKEND:
            backend: Backend = entry.extension.build(entry.extension.settings(), context)
            roots += [backend.launcher.settings] if backend.launcher is not None else []
    return {f"{each.__module__}.{each.__qualname__}": each for root in roots for each in settings_types(root)}


ALL_SETTINGS = all_settings()


@pytest.mark.parametrize("name", sorted(ALL_SETTINGS))
def test_settings_refuse_what_they_do_not_know(name: str) -> None:
    assert ALL_SETTINGS[name].__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("name", sorted(ALL_SETTINGS))
def test_settings_are_documented_and_cannot_be_changed(name: str) -> None:
    assert inspect.getdoc(ALL_SETTINGS[name])
    assert ALL_SETTINGS[name].__struct_config__.frozen


def test_seconds_bytes_and_ports_say_so_in_their_names() -> None:
    """A number without a unit in its name is a count, and is called like one."""
    numbers = {
        field.name
        for settings in ALL_SETTINGS.values()
        for field in msgspec.structs.fields(settings)
        if {int, float}
        & {field.type, *get_args(field.type), *(inner for each in get_args(field.type) for inner in get_args(each))}
    }
    units = (
        "_seconds",
        "_ms",
        "_share",
        "_calls",
        "_factor",
        "_days",
        "_bytes",
        "_mib",
        "_tokens",
        "_nats",
        "_rows",
        "bytes_per_token",
        "port",
    )
    unnamed = {name for name in numbers if not name.endswith(units)}
    # The units of a limit's amounts are its dimension; those of prices are in the type's name; an objective's models and
    # operations have its `ttft_ms`. A guardrail's bound is of what it watches.
    assert unnamed == {
        "amount",
        "bound",
        "burst",
        "cached_input",
        "choices",
        "context_length",
        "defaults",
        "input",
        "margins",
        "max_attempts",
        "max_concurrent",
        "max_connections",
        "max_connections_per_client",
        "max_queued",
        "max_targets",
        "models",
        "most_blocks",
        "operations",
        "output",
        "per_key",
        "per_tenant",
        "quantile",
        "sample",
        "share",
        "threads",
        "tier",
        "waiting",
        "weight",
        "weights",
    }


@pytest.mark.parametrize("entry", REGISTERED, ids=lambda entry: f"{entry.kind.value}-{entry.extension.name}")
def test_an_extension_s_module_is_named_after_it(entry: Registered) -> None:
    module = entry.plugin.removesuffix(".plugin").rpartition(".")[2]
    if entry.kind is Kind.STORE:  # named after the schemes of its URLs, of which there may be several
        assert module.endswith("_store")
    elif entry.kind is Kind.TARGET_SOURCE:
        assert module == f"discovery_{entry.extension.name}"
    else:
        assert module == entry.extension.name


def test_the_authoring_surface_is_what_it_says() -> None:
    assert list(gateway.__all__) == sorted(gateway.__all__, key=lambda name: (name.islower(), name))
    imported = {
        alias.asname or alias.name
        for node in tree("gateway/__init__.py").body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(gateway.__all__)


def test_the_sample_plugin_uses_the_authoring_surface_and_nothing_else() -> None:
    modules = [name for name in files() if name.startswith("tests/support/sample_plugin/moegate_sample/")]
    assert len(modules) >= 3
    for name in modules:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
                "gateway",
                "backends",
                "plugins",
            ):
                allowed = node.module in ("gateway", "gateway.errors") or node.module == "gateway.dataplane"
                assert allowed, f"{name} imports {node.module}"
    assert "moegate" in text("tests/support/sample_plugin/pyproject.toml")
