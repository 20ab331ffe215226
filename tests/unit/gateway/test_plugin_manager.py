from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.plugin_manager import BUILT_INS, load_plugins, version_of
from gateway.registry import call_hook

GOOD = """
from gateway import hookimpl

@hookimpl
def moegate_recorders():
    return ["here"]
"""
NOT_A_HOOK = GOOD.replace("moegate_recorders", "moegate_recoders")
ARGUMENTS = GOOD.replace("()", "(config)", 1)
BROKEN = "import a_module_that_is_not_there"


def refusal(built_ins: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        load_plugins(built_ins)
    return caught.value.message


def test_our_own_plugins_are_loaded() -> None:
    manager = load_plugins()
    assert {name for name, module in manager.list_name_plugin() if module is not None} == set(BUILT_INS)


def test_a_plugin_is_found_by_its_entry_point_and_has_its_distribution_s_version(distribution: Any) -> None:
    distribution("a_stranger", GOOD, "stranger")
    assert list(call_hook(load_plugins(()), "moegate_recorders")) == [("stranger", ["here"])]
    assert version_of("stranger") == "1.2.3"


def test_a_built_in_has_our_version() -> None:
    assert version_of(BUILT_INS[0]) == importlib.metadata.version("moegate")


def test_nobody_s_plugin_has_no_version() -> None:
    assert version_of("nobody") == "unknown"


def test_a_plugin_that_cannot_be_imported_is_named(distribution: Any) -> None:
    distribution("a_broken_one", BROKEN, "broken")
    text = refusal()
    assert text.startswith("plugin 'broken' (a_broken_one) cannot be imported: ModuleNotFoundError")
    assert "a_module_that_is_not_there" in text


def test_a_plugin_that_crashes_on_import_is_named(distribution: Any) -> None:
    distribution("a_crashing_one", "1 / 0")
    assert "plugin 'a_crashing_one' (a_crashing_one) cannot be imported: ZeroDivisionError" in refusal()


def test_an_entry_point_that_leads_nowhere_is_named(distribution: Any) -> None:
    distribution("a_real_one", GOOD, "nowhere")
    file = Path(sys.path[0]) / "a_real_one-1.2.3.dist-info" / "entry_points.txt"
    file.write_text("[moegate]\nnowhere = a_real_one:absent\n")
    assert "plugin 'nowhere' (a_real_one:absent) cannot be imported: AttributeError" in refusal()


def test_a_hook_that_does_not_exist_is_refused_with_the_plugin_s_name(distribution: Any) -> None:
    distribution("a_typo", NOT_A_HOOK, "typo")
    text = refusal()
    assert text.startswith("plugin 'typo' does not fit the hooks: ")
    assert "moegate_recoders" in text


def test_a_hook_with_arguments_is_refused_with_the_plugin_s_name(distribution: Any) -> None:
    distribution("a_greedy_one", ARGUMENTS, "greedy")
    text = refusal()
    assert text.startswith("plugin 'greedy' does not fit the hooks: ")
    assert "config" in text


def test_two_plugins_of_one_name_are_refused(distribution: Any) -> None:
    distribution("a_first", GOOD, "same")
    distribution("a_second", GOOD, "same")
    text = refusal()
    assert "two plugins are named 'same'" in text


def test_nobody_can_take_a_built_in_s_name(distribution: Any) -> None:
    distribution("an_impostor", GOOD, "backends.vllm")
    assert "two plugins are named 'backends.vllm'" in refusal(("backends.vllm",))


def test_one_module_under_two_names_is_refused(distribution: Any) -> None:
    distribution("a_double", GOOD, "one", "two")
    text = refusal()
    assert text.startswith("plugin 'two'")
    assert "a_double" in text


def test_a_function_is_no_plugin(distribution: Any) -> None:
    """An entry point must name a module: what it names is looked through for hooks, and a function has none."""
    distribution("a_function", GOOD, "function")
    file = Path(sys.path[0]) / "a_function-1.2.3.dist-info" / "entry_points.txt"
    file.write_text("[moegate]\nfunction = a_function:moegate_recorders\n")
    text = refusal()
    assert text.startswith("plugin 'function'")
    assert "module" in text


def test_plugins_load_in_the_order_of_their_names(distribution: Any) -> None:
    distribution("z_module", GOOD, "b")
    distribution("y_module", GOOD.replace("here", "there"), "a")
    assert [name for name, _ in call_hook(load_plugins(()), "moegate_recorders")] == ["a", "b"]


def test_a_module_without_a_hook_is_refused(distribution: Any) -> None:
    distribution("a_forgetful_one", GOOD.replace("@hookimpl", ""), "forgetful")
    assert refusal() == (
        "plugin 'forgetful' (a_forgetful_one) implements no hook; it must name a module with `@hookimpl`s"
    )


def test_a_built_in_that_is_missing_is_our_own_fault_and_says_so() -> None:
    with pytest.raises(ConfigError, match=r"plugin 'plugins\.absent'"):
        load_plugins(("plugins.absent",))
