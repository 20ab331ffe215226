"""What the architecture tests read: the repository's files as git knows them, and Python files as syntax trees."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("backends", "gateway", "plugins", "policies")
# An engine runs in its own process and environment: it is served by the gateway and is no part of it.
ENGINE = "backends/torch_reference/engine/"


@cache
def files() -> tuple[str, ...]:
    """Every file that is tracked, or would be with the next commit."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(name for name in set(listed.split("\0")) if name and (ROOT / name).is_file()))


@cache
def text(name: str) -> str:
    """A file's text; what is no text has none."""
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@cache
def tree(name: str) -> ast.Module:
    """A Python file's syntax tree."""
    return ast.parse(text(name))


def python_files(*folders: str) -> list[str]:
    """Python files, of these folders only if some are given."""
    return [name for name in files() if name.endswith(".py") and (not folders or name.split("/")[0] in folders)]


def package_files() -> list[str]:
    """The gateway's own modules and those of its extensions, less the engine that runs apart."""
    return [name for name in python_files(*PACKAGES) if not name.startswith(ENGINE)]


def module_of(name: str) -> str:
    """A file's module, dotted."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, methods and inner ones too."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def strings(module: ast.Module) -> Iterator[str]:
    """Every string and bytes literal of a module."""
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            yield node.value.decode("latin-1")


def imported(module: ast.Module) -> set[str]:
    """What a module imports when it runs, dotted; imports for type checkers alone are left out."""
    unrun = {
        id(inner)
        for node in ast.walk(module)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(module):
        if id(node) in unrun:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def users_of(package: str, candidates: list[str]) -> set[str]:
    """Which files import a package when they run."""
    return {name for name in candidates if any(each.split(".")[0] == package for each in imported(tree(name)))}
