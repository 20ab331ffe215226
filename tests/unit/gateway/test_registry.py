from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.hookspecs import hookimpl
from gateway.plugin_manager import BUILT_INS
from gateway.registry import PLUGIN_KINDS, Kind, Registry, call_hook, nearest
from tests.unit.gateway.plugin_modules import extension, manager_of, plugin, registry_of


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return caught.value.message


def test_an_extension_is_found_by_kind_and_name() -> None:
    mine = extension("mine")
    registry = registry_of(plugin(moegate_backends=lambda: [mine]))
    assert registry.get(Kind.BACKEND, "mine") is mine
    (entry,) = registry
    assert (entry.kind, entry.plugin, entry.version) == (Kind.BACKEND, "p0", "unknown")


def test_two_plugins_may_not_take_one_name_for_one_kind() -> None:
    both = [plugin(moegate_recorders=lambda: [extension("same")]) for _ in range(2)]
    assert refusal(registry_of, *both) == "two plugins register 'same' in moegate_recorders: 'p0' and 'p1'"


def test_one_plugin_may_not_either() -> None:
    twice = plugin(moegate_recorders=lambda: [extension("same"), extension("same")])
    assert "'p0' and 'p0'" in refusal(registry_of, twice)


def test_one_name_may_stand_for_several_kinds() -> None:
    both = extension("both")
    registry = registry_of(plugin(moegate_recorders=lambda: [both], moegate_routes=lambda: [both]))
    assert registry.find("both", PLUGIN_KINDS) == {Kind.RECORDER: both, Kind.ROUTES: both}


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    registry = registry_of(plugin(moegate_routing_policies=lambda: [extension("least_loaded"), extension("sticky")]))
    text = refusal(registry.get, Kind.ROUTING_POLICY, "lest_loaded")
    assert text == "nothing is registered as 'lest_loaded' in routing_policies; did you mean 'least_loaded'?"


def test_or_with_all_of_them_when_none_is_near() -> None:
    registry = registry_of(plugin(moegate_routing_policies=lambda: [extension("b"), extension("a")]))
    assert refusal(registry.get, Kind.ROUTING_POLICY, "sticky").endswith("; known: a, b")
    assert refusal(registry.get, Kind.BACKEND, "vllm").endswith("; known: none")


def test_an_unknown_plugin_is_looked_for_among_all_kinds_of_plugins() -> None:
    registry = registry_of(
        plugin(moegate_services=lambda: [extension("watcher")], moegate_backends=lambda: [extension("watchers")])
    )
    text = refusal(registry.find, "wacher", PLUGIN_KINDS)
    assert text == "no plugin is registered as 'wacher'; did you mean 'watcher'?"


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("abc", ["abd", "xyz"], "did you mean 'abd'?"),
        ("model", ["mode", "models", "xyz"], "did you mean 'models' or 'mode'?"),
        ("zzz", ["b", "a"], "known: a, b"),
        ("zzz", [], "known: none"),
    ],
)
def test_nearest(name: str, known: list[str], text: str) -> None:
    assert nearest(name, known) == text


def test_automatic_extensions_are_listed_with_their_kind() -> None:
    always = extension("always", automatic=True)
    registry = registry_of(plugin(moegate_services=lambda: [always, extension("asked")]))
    assert list(registry.automatic()) == [(Kind.SERVICE, always)]


def test_hooks_are_called_in_the_order_of_registration() -> None:
    manager = manager_of(*(plugin(moegate_recorders=lambda n=n: [n]) for n in range(3)))
    assert list(call_hook(manager, "moegate_recorders")) == [("p0", [0]), ("p1", [1]), ("p2", [2])]


def test_a_hook_may_give_any_iterable() -> None:
    def recorders() -> Any:
        yield extension("one")
        yield extension("two")

    assert [entry.extension.name for entry in registry_of(plugin(moegate_recorders=recorders))] == ["one", "two"]


def test_a_hook_that_raises_is_named_with_its_plugin() -> None:
    def crashes() -> Any:
        raise RuntimeError("no luck")

    text = refusal(registry_of, plugin(moegate_services=crashes))
    assert text == "plugin 'p0' failed in moegate_services: RuntimeError('no luck')"


@pytest.mark.parametrize(("returned", "fault"), [(None, "TypeError"), (3, "TypeError"), ([3], "'int'"), ("x", "'str'")])
def test_a_hook_that_returns_something_else_is_named_with_its_plugin(returned: Any, fault: str) -> None:
    text = refusal(registry_of, plugin(moegate_services=lambda: returned))
    assert text.startswith("plugin 'p0' ")
    assert "moegate_services" in text
    assert fault in text


def test_a_hook_that_must_give_extensions_refuses_their_classes() -> None:
    class Recorder:
        async def record(self, call: Any, outcome: Any, decision: Any) -> None: ...

    text = refusal(registry_of, plugin(moegate_recorders=lambda: [Recorder()]))
    assert text == "plugin 'p0' returned 'Recorder' from moegate_recorders, not an Extension"


def test_every_kind_but_commands_and_schemas_has_its_hook() -> None:
    specified = {name for name in vars(__import__("gateway.hookspecs").hookspecs) if name.startswith("moegate_")}
    assert {kind.hook for kind in Kind} | {"moegate_commands", "moegate_schemas"} == specified


def test_our_own_extensions_come_through_the_same_door() -> None:
    registry = Registry.from_plugins()
    # What a plugin registers that is no extension: commands, which need no configuration.
    assert {entry.plugin for entry in registry} | {"plugins.bench", "plugins.experiments"} == set(BUILT_INS)
    assert all(entry.version[0].isdigit() for entry in registry)


def test_the_hook_marker_of_the_authoring_surface_is_the_registry_s() -> None:
    @hookimpl
    def moegate_backends() -> Any:
        return [extension("marked")]

    module = plugin()
    module.moegate_backends = moegate_backends  # type: ignore[attr-defined]
    assert [entry.extension.name for entry in registry_of(module)] == ["marked"]
