"""Reads licence records from YAML files and finds what is wrong with them, each fault with its file, its line and its reason."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from gateway.errors import ConfigError
from policies.attribution.model_licence.records import LicenceRecord

BUILT_IN = Path(__file__).parent / "records"
MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 8

Place = tuple[str | int, ...]
Lines = Mapping[Place, int]

_AT = re.compile(r"(?P<text>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_PART = re.compile(r"\[(\d+)\]|\.([^.\[]+)")
_NAMED = re.compile(r"(?:unknown|missing required) field `(\w+)`")


class Read(Struct, frozen=True):
    """A record and where it stands."""

    record: LicenceRecord
    file: Path
    lines: Lines

    def fault(self, place: Place, text: str) -> str:
        """One line for an error."""
        return fault(self.file, self.lines, place, text)


def load(folder: Path | None = None) -> dict[str, LicenceRecord]:
    """The built-in records and those of a folder, by id.

    Raises:
        ConfigError: with each fault of each file.
    """
    problems: list[str] = []
    found = [*_folder(BUILT_IN, problems), *(_folder(folder, problems) if folder is not None else ())]
    read = [each for file in found if (each := _read(file, problems)) is not None]
    by_id: dict[str, Read] = {}
    for each in read:
        first = by_id.setdefault(each.record.id, each)
        if first is not each:
            problems.append(each.fault(("id",), f"{each.record.id!r} is the id of {first.file} already"))
    problems += _lineage_faults(read)
    if problems:
        raise ConfigError(*problems)
    return {name: each.record for name, each in by_id.items()}


def _folder(folder: Path, problems: list[str]) -> list[Path]:
    """Its YAML files by name."""
    try:
        return sorted(file for file in folder.iterdir() if file.suffix in (".yaml", ".yml"))
    except OSError as error:
        problems.append(f"{folder}: cannot be read: {error.strerror}")
        return []


def _read(file: Path, problems: list[str]) -> Read | None:
    lines: dict[Place, int] = {}
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            problems.append(f"{file}: longer than {MAX_FILE_BYTES} bytes")
            return None
        content = _Tree(lines).build(raw.decode())
        record = msgspec.convert(content, LicenceRecord)
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.append(f"{file}: not UTF-8 at byte {error.start}")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(f"{file}:{line}: not valid YAML: {error.problem}")
    except yaml.YAMLError as error:
        problems.append(f"{file}:1: not valid YAML: {error}")
    except _Refused as error:
        problems.append(fault(file, lines, error.place, error.text))
    except msgspec.ValidationError as error:
        problems.append(_misfit(file, lines, error))
    else:
        read = Read(record, file, lines)
        wrong = _text_fault(read)
        if wrong is None:
            return read
        problems.append(wrong)
    return None


def _misfit(file: Path, lines: Lines, error: msgspec.ValidationError) -> str:
    """What msgspec says, with the place that it names."""
    match = _AT.fullmatch(str(error))
    text, path = (match["text"], match["path"] or "") if match else (str(error), "")
    place: Place = tuple(int(part[1]) if part[1] else part[2] for part in _PART.finditer(path))
    named = _NAMED.search(text)
    return fault(file, lines, (*place, named[1]) if named else place, text)


def _text_fault(read: Read) -> str | None:
    """Whether the licence's own text, if it is kept beside the record, is the one that the record was written from."""
    record = read.record
    if record.text_file is None:
        return None
    if Path(record.text_file).name != record.text_file:
        return read.fault(("text_file",), "it must be the name of a file in the same folder")
    try:
        found = hashlib.sha256((read.file.parent / record.text_file).read_bytes()).hexdigest()
    except OSError as error:
        return read.fault(("text_file",), f"{record.text_file} cannot be read: {error.strerror}")
    if found != record.text_sha256:
        return read.fault(("text_sha256",), f"digest mismatch: {record.text_file} has {found}")
    return None


def _lineage_faults(read: Iterable[Read]) -> list[str]:
    """Checkpoints that stand twice in one file, and those that are made, over some steps, of themselves."""
    parents: dict[str, str] = {}
    stands: dict[str, tuple[Read, Place]] = {}
    problems = []
    for each in read:
        for index, model in enumerate(each.record.models):
            place: Place = ("models", index, "id")
            first = stands.setdefault(model.id, (each, place))
            if first != (each, place) and first[0].file == each.file:
                problems.append(each.fault(place, f"{model.id!r} stands twice"))
            if model.derived_from is not None:
                parents.setdefault(model.id, model.derived_from)
    told: set[str] = set()
    for start in parents:
        way = [start]
        while (parent := parents.get(way[-1])) is not None and parent not in way:
            way.append(parent)
        if parent == start and start not in told:
            told.update(way)
            owner, place = stands[start]
            shown = " from ".join((*way, start))
            problems.append(owner.fault((*place[:-1], "derived_from"), f"cycle in lineage: {shown}"))
    return problems


def fault(file: Path, lines: Lines, place: Place, text: str) -> str:
    """One line for an error: the file, the line of the nearest thing that stands in it, where it is, and why."""
    line = next((lines[place[:depth]] for depth in range(len(place), -1, -1) if place[:depth] in lines), 1)
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    return f"{file}:{line}: {where + ': ' if where else ''}{text[:1].lower()}{text[1:]}"


class _Refused(Exception):
    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place
        self.text = text


class _Tree:
    """A YAML text as plain data; notes the line of each value."""

    def __init__(self, lines: dict[Place, int]) -> None:
        self._lines = lines
        self._constructor = yaml.constructor.SafeConstructor()

    def build(self, text: str) -> Any:
        """Parse; raises yaml's errors, and `_Refused` for what has no place in a record."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except RecursionError as error:
            raise _Refused((), "nested beyond reason") from error
        return self._value(node, ()) if node is not None else {}

    def _value(self, node: yaml.Node, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if len(place) > MAX_DEPTH:
            raise _Refused(place[:2], "nested beyond reason")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, index)) for index, item in enumerate(node.value)]
        try:
            return self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
            raise _Refused(place, "is of a YAML type that has no place here") from error

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value in node.value:
            key = str(key_node.value)
            self._lines[(*place, key)] = key_node.start_mark.line + 1
            if key in mapping:
                raise _Refused((*place, key), "stands twice")
            mapping[key] = self._value(value, (*place, key))
        return mapping
