from __future__ import annotations

import inspect
from typing import Any

import pytest

from gateway import hookspecs
from gateway.plugin_manager import load_plugins

HOOKS = {name: value for name, value in vars(hookspecs).items() if name.startswith("moegate_")}


def test_there_are_fifteen() -> None:
    assert set(HOOKS) == {
        "moegate_backends",
        "moegate_admission_policies",
        "moegate_routing_policies",
        "moegate_attribution_policies",
        "moegate_authenticators",
        "moegate_recorders",
        "moegate_journals",
        "moegate_schemas",
        "moegate_stores",
        "moegate_target_sources",
        "moegate_assigners",
        "moegate_call_transforms",
        "moegate_services",
        "moegate_routes",
        "moegate_commands",
    }


@pytest.mark.parametrize("hook", HOOKS)
def test_each_says_what_it_gives_and_when_it_is_called(hook: str) -> None:
    text = inspect.getdoc(HOOKS[hook]) or ""
    assert text.startswith("Give ")
    assert "Called once when the " in text
    assert len(text.split("\n\n")) >= 2


@pytest.mark.parametrize("hook", HOOKS)
def test_each_takes_nothing_and_says_what_it_returns(hook: str) -> None:
    signature = inspect.signature(HOOKS[hook])
    assert list(signature.parameters) == []
    assert str(signature.return_annotation).startswith("Iterable[")


@pytest.mark.parametrize("hook", HOOKS)
def test_each_is_known_to_the_plugin_manager(hook: str) -> None:
    caller: Any = getattr(load_plugins(()).hook, hook)
    assert caller.has_spec()
