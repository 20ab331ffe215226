"""Reads a YAML file into plain data and remembers the line of every value; knows no setting by name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import yaml
from msgspec import Struct

from gateway.errors import ConfigError

MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_FILE_BYTES = 4 * 1024 * 1024

Path = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the top."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class FromEnvironment(str):
    """Text that the environment gave: it may stand where a number or a truth value is wanted."""

    __slots__ = ()


class Unreadable:
    """Stands where a value could not be read; the document's problems say why."""


UNREADABLE = Unreadable()


class Document(Struct, frozen=True):
    """A file's content as plain data, the line of each value, and what was wrong with the text itself."""

    content: Any
    lines: Mapping[Path, int]
    problems: tuple[str, ...] = ()

    def problem(self, path: Path, text: str) -> str:
        """One line for an error: the path of the setting, what is wrong, and the line in the file where known."""
        for depth in range(len(path), -1, -1):
            if path[:depth] in self.lines:
                return f"{render(path)}: {text} (line {self.lines[path[:depth]]})"
        return f"{render(path)}: {text}"


def render(path: Path) -> str:
    """Write a path the way people do: `models[0].replicas[1].url`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the file"


def read(file: FilePath, environment: Mapping[str, str] = os.environ) -> Document:
    """Read a configuration file; `${NAME}` and `${NAME:-default}` are replaced from the environment.

    Raises:
        ConfigError: the file cannot be read or is not YAML.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{file}: longer than {MAX_FILE_BYTES} bytes")
    try:
        return parse(raw.decode(), environment)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}") from error


def parse(text: str, environment: Mapping[str, str]) -> Document:
    """Parse YAML text.

    Raises:
        ConfigError: it is not YAML, or nested beyond reason.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"not valid YAML: {error.problem} (line {line})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"the file: nested deeper than {MAX_DEPTH} levels") from error
    builder = _Builder(environment)
    content = builder.build(node, ()) if node is not None else {}
    return Document(content, builder.lines, tuple(builder.problems))


class _Builder:
    """Walks YAML nodes, because only they know their lines and whether a scalar was quoted."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[str] = []
        self._environment = environment
        self._values = 0
        self._constructor = yaml.constructor.SafeConstructor()

    def build(self, node: yaml.Node, path: Path) -> Any:
        if len(path) > MAX_DEPTH:  # an alias that holds itself ends here
            raise ConfigError(f"{render(path[:4])}…: nested deeper than {MAX_DEPTH} levels")
        self._values += 1
        if self._values > MAX_VALUES:  # a few aliases of aliases come to billions of values
            raise ConfigError(f"the file: over {MAX_VALUES} values")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise ConfigError(f"{render(path)}: a YAML node of an unknown kind")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(path, "holds a key that is not plain text", key_node)
                continue
            key = str(key_node.value)
            if key in mapping:
                self._problem((*path, key), "stands twice", key_node)
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            mapping[key] = self.build(value_node, (*path, key))
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        before = len(self.problems)
        text = _VARIABLE.sub(lambda match: self._variable(match, path, node), node.value)
        if len(self.problems) > before:
            return UNREADABLE
        if text != node.value:
            return FromEnvironment(text)
        try:
            return self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):  # PyYAML's own, for `!!bool maybe` and such
            self._problem(path, "is of a YAML type that is not allowed here", node)
            return UNREADABLE

    def _variable(self, match: re.Match[str], path: Path, node: yaml.Node) -> str:
        name, default = match.groups()
        if name in self._environment:
            return self._environment[name]
        if default is None:
            self._problem(path, f"environment variable {name} is not set", node)
            return ""
        return str(default)

    def _problem(self, path: Path, text: str, node: yaml.Node) -> None:
        line = f" (line {node.start_mark.line + 1})" if node.start_mark else ""
        self.problems.append(f"{render(path)}: {text}{line}")
