"""The shape of the repository: where packages live, what files and functions are called, and how long they may be."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path, PurePosixPath

import pytest

from tests.architecture.sources import PACKAGES, ROOT, files, functions, package_files, python_files, text, tree

MOST_LINES = 400
LONG_LINES = 300
MOST_FUNCTION_LINES = 60

# Files that have passed the mark on purpose. A new one belongs here only with a reason.
LONG_FILES = {
    "backends/openai_compatible.py",  # the shared base of all engines: request, errors, probe and meter of one API
    "tests/unit/gateway/http/test_protocol.py",  # the ways in which bytes can come in and go out of one connection
    "tests/unit/plugins/engine_supervisor/test_process.py",  # the ways in which one process can go wrong
    "deploy/lab/corpus.py",  # the lab model's lessons, one kind after the other
}

# One expression of data a function: what an engine writes, in its order.
DATA = "tests/support/scripted_engine/dialects/"

# A name that says nothing of what is inside, or that another version exists beside it.
EMPTY_NAMES = re.compile(r"(utils?|helpers?|commons?|misc|shared_code|stuff|[a-z_]*_v\d+|[a-z_]*manager\d+)")

# Accesses to private names of others, in tests; each ties a test to how something is done. Make it fewer, not more.
MOST_PRIVATE_ACCESSES = 36


def test_the_four_packages_share_one_parent_folder() -> None:
    parents = {Path(importlib.import_module(package).__path__[0]).resolve().parent for package in PACKAGES}
    assert parents == {ROOT}


@pytest.mark.parametrize("name", python_files(*PACKAGES, "deploy"))
def test_every_module_says_in_one_sentence_what_it_is_for(name: str) -> None:
    docstring = ast.get_docstring(tree(name))
    assert docstring, f"{name} has no docstring"
    first = docstring.split("\n\n")[0]
    assert "\n" not in first, f"{name}: the purpose takes more than one line"
    assert first.endswith("."), f"{name}: the purpose is no sentence"


def test_no_file_is_too_long() -> None:
    lengths = {name: len(text(name).splitlines()) for name in python_files()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}
    assert {name for name, length in lengths.items() if length > LONG_LINES} - LONG_FILES == set()


def test_the_list_of_long_files_is_not_stale() -> None:
    assert set(files()) >= LONG_FILES


def test_no_function_is_too_long() -> None:
    long = {
        f"{name}:{function.name}": lines
        for name in python_files()
        if not name.startswith(DATA)
        for function in functions(tree(name))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) >= MOST_FUNCTION_LINES
    }
    assert long == {}


def test_no_name_is_empty() -> None:
    parts = {
        (part.split(".")[0], name) for name in files() for part in PurePosixPath(name).parts if not part.startswith(".")
    }
    assert {name for part, name in parts if EMPTY_NAMES.fullmatch(part)} == set()


def test_every_folder_of_code_is_a_package() -> None:
    """Without `__init__.py` a folder is found only by luck; packages that stand in no folder of ours are their own."""
    folders = {str(PurePosixPath(name).parent) for name in python_files(*PACKAGES)}
    assert {folder for folder in folders if f"{folder}/__init__.py" not in files()} == set()


def test_tests_mirror_the_tree() -> None:
    """`tests/unit/gateway/fleet/` tests `gateway/fleet/`; hooks have a folder of their own."""
    folders = {str(PurePosixPath(name).parent) for name in python_files("tests") if name.startswith("tests/unit/")}
    mirrored = {folder.removeprefix("tests/unit/") for folder in folders} - {"tests/unit", "gateway/hooks"}
    code = {str(parent) for name in python_files() for parent in PurePosixPath(name).parents}
    assert mirrored - code == set()


def test_tests_seldom_look_inside() -> None:
    accesses = [
        f"{name}:{node.lineno} {node.attr}"
        for name in python_files("tests")
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Attribute)
        and re.match(r"_[a-z]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]
    assert len(accesses) <= MOST_PRIVATE_ACCESSES, "\n".join(accesses)


VIRTUAL_CLOCKS = ("tests/unit/gateway/", "tests/unit/policies/admission/fair_queue/")


def test_nothing_sleeps_in_tests() -> None:
    """Gates and fake clocks, not pauses. `sleep(0)` is no pause, on a virtual clock none takes time, and a pause that
    cannot be helped says why on its line.
    """
    sleepers = [
        f"{name}:{node.lineno}"
        for name in python_files("tests")
        if not name.startswith(("tests/engines/", "tests/performance/", "tests/support/", *VIRTUAL_CLOCKS))
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "sleep"
        and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
        and "  # " not in text(name).splitlines()[node.lineno - 1]
    ]
    assert sleepers == []


def test_readmes_list_what_is_built_in() -> None:
    for name in package_files():
        folder, _, file = name.partition("/")
        if folder == "gateway" or not re.search(r"^@hookimpl", text(name), re.MULTILINE):
            continue
        names = re.findall(r'Extension\(\s*"(\w+)"', text(name)) or re.findall(r"Registers .*`(\w+)`", text(name))
        assert names, f"{name} registers nothing by a plain name"
        for extension in names:
            assert f"`{extension}" in text(f"{folder}/README.md"), (
                f"{folder}/README.md has no row for {extension} ({file})"
            )
