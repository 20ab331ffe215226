"""Reads the YAML file of `moegate tenants apply`; finds as many faults at once as it can, each with its path and its line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Any

import msgspec
import yaml

from gateway.errors import InvalidRequest
from plugins.tenants.checking import Path, render
from plugins.tenants.declared import Declaration, DeclaredTenant, problems, with_secrets

MAX_FILE_BYTES = 16 * 2**20
MAX_VALUES = 1_000_000
MAX_DEPTH = 16

_MSGSPEC = re.compile(r"(?P<text>.*) - at (`key` in )?`\$(?P<path>.*)`", re.DOTALL)
_PART = re.compile(r"\[(\d+)\]|\.([^.\[]+)|\[\.\.\.\]")
_STEP = "tenants"


class _Loader(yaml.SafeLoader):
    """Dates stay text: what they mean depends on where they stand."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(file: FilePath, environment: Mapping[str, str]) -> Declaration:
    """Read a file.

    Raises:
        InvalidRequest: it cannot be read, or something in it is wrong; the message has a line for each fault.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise InvalidRequest(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{file}: not UTF-8 at byte {error.start}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise InvalidRequest(f"{file}: longer than {MAX_FILE_BYTES} bytes")
    return parse(text, environment)


def parse(text: str, environment: Mapping[str, str]) -> Declaration:
    """Read a document.

    Raises:
        InvalidRequest: something in it is wrong; the message has a line for each fault.
    """
    tree = _Tree()
    content = tree.build(text)
    declaration = _declaration(content, tree) if not tree.faults else None
    if declaration is not None:
        for path, fault in problems(declaration):
            tree.fault(path, fault)
    if declaration is None or tree.faults:
        raise InvalidRequest("\n".join(tree.faults))
    return _with_environment(declaration, environment)


def _with_environment(declaration: Declaration, environment: Mapping[str, str]) -> Declaration:
    tenants = []
    for index, tenant in enumerate(declaration.tenants):
        path: Path = (_STEP, index)
        teams = [
            msgspec.structs.replace(team, keys=with_secrets(team.keys, (*path, "teams", place), environment))
            for place, team in enumerate(tenant.teams)
        ]
        keys = with_secrets(tenant.keys, path, environment)
        tenants.append(msgspec.structs.replace(tenant, keys=keys, teams=tuple(teams)))
    declared = Declaration(tenants=tuple(tenants))
    for path, fault in problems(declared):  # two variables may hold one key
        raise InvalidRequest(f"{render(path)}: {fault}")
    return declared


def _declaration(content: Any, tree: _Tree) -> Declaration | None:
    """Tenant by tenant, because msgspec stops at the first fault that it finds."""
    tenants = content.get(_STEP) if isinstance(content, dict) else None
    if not isinstance(tenants, list) or set(content) != {_STEP}:
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert(content, Declaration)
        tree.convert(content, Declaration, ())
        return None
    found = [tree.convert(tenant, DeclaredTenant, (_STEP, index)) for index, tenant in enumerate(tenants)]
    return None if tree.faults else Declaration(tenants=tuple(found))


class _Tree:
    """A YAML text as plain data, with the line of each value and what is wrong with it."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._lines: dict[Path, int] = {}
        self._values = 0
        self._constructor = yaml.constructor.SafeConstructor()

    def fault(self, path: Path, text: str) -> None:
        """Note a fault, with the line of the nearest thing that stands in the file."""
        near = next((path[:depth] for depth in range(len(path), -1, -1) if path[:depth] in self._lines), None)
        line = f" (line {self._lines[near]})" if near is not None else ""
        self.faults.append(f"{render(path) or 'the file'}: {text}{line}")

    def convert(self, content: Any, wanted: Any, path: Path) -> Any:
        """Plain data as a Struct; a fault is noted."""
        try:
            return msgspec.convert(content, wanted)
        except msgspec.ValidationError as error:
            match = _MSGSPEC.fullmatch(str(error))
            rest = tuple(
                int(part[1]) if part[1] else part[2] or "*" for part in _PART.finditer(match["path"] if match else "")
            )
            self.fault((*path, *rest), match["text"] if match else str(error))
            return None

    def build(self, text: str) -> Any:
        """Parse.

        Raises:
            InvalidRequest: it is no YAML, or beyond reason.
        """
        try:
            node = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise InvalidRequest(f"not valid YAML: {error.problem} (line {line})") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise InvalidRequest("not valid YAML, or nested beyond reason") from error
        return self._value(node, ()) if node is not None else {}

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:  # aliases of aliases come to billions of values
            raise InvalidRequest(f"over {MAX_VALUES} values, or nested deeper than {MAX_DEPTH} levels")
        self._lines.setdefault(path, node.start_mark.line + 1 if node.start_mark else 0)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if path and path[-1] == "expires_at" and node.tag == "tag:yaml.org,2002:str":
            return self._instant(str(node.value), path)
        try:
            return self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):
            self.fault(path, "is of a YAML type that is not allowed here")
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            if key in found:
                self.fault((*path, key), "stands twice")
            found[key] = self._value(value_node, (*path, key))
        return found

    def _instant(self, text: str, path: Path) -> Any:
        try:
            return instant(text)
        except ValueError as error:
            self.fault(path, str(error))
            return None


def instant(text: str) -> int:
    """A date, or a date and a time, as seconds since 1970; in UTC where no zone is said.

    Raises:
        ValueError: it is neither.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date such as 2027-01-31 or 2027-01-31T18:00:00Z") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
