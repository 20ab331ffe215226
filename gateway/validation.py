"""Turns plain data into msgspec Structs and finds every fault at once, each with its path; never prints a value."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from gateway.config_file import UNREADABLE, Document, FromEnvironment
from gateway.config_file import Path as SettingPath
from gateway.contracts.secret import Secret
from gateway.errors import ConfigError
from gateway.registry import nearest

T = TypeVar("T")
StructT = TypeVar("StructT", bound=Struct)

_WORDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    FromEnvironment: "text",
    list: "a list",
    dict: "a mapping",
    Secret: "text",
    Path: "a path",
    type(None): "nothing",
}
# msgspec's names for the same, as they stand in its errors.
_MSGSPEC_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "array": "a list", "object": "a mapping"}

_SEQUENCES = (list, tuple, set, frozenset)


class Invalid:
    """Stands where a value would, when there is none."""


INVALID = Invalid()


def readable(items: Sequence[T]) -> Iterator[tuple[int, T]]:
    """The items of a list that could be read, each with its index in the file."""
    for index, item in enumerate(items):
        if not isinstance(item, Invalid):
            yield index, item


class Place(Struct, frozen=True):
    """Where a value was written that stands elsewhere: in which document, where in it, and what that is called."""

    document: Document
    path: SettingPath
    label: str = ""

    def problem(self, path: SettingPath, text: str) -> str:
        """One line for an error."""
        told = self.document.problem((*self.path, *path), text)
        return f"{self.label}: {told}" if self.label else told


class Validator:
    """Collects the problems of one document."""

    def __init__(self, document: Document) -> None:
        self.problems: list[str] = list(document.problems)
        self.document = document
        self._places: dict[SettingPath, Place] = {}
        self._unreadable = 0

    @property
    def _faults(self) -> int:
        return len(self.problems) + self._unreadable

    def problem(self, path: SettingPath, text: str) -> None:
        """Note a fault that only the caller could see."""
        for depth in range(len(path) if self._places else 0, 0, -1):
            place = self._places.get(path[:depth])
            if place is not None:
                self.problems.append(place.problem(path[depth:], text))
                return
        self.problems.append(self.document.problem(path, text))

    def locate(self, path: SettingPath, place: Place) -> None:
        """Say where a value was written that stands at this path now, so that its faults name that place."""
        self._places[path] = place

    def struct(self, value: Any, wanted: type[StructT], path: SettingPath) -> StructT | Invalid:
        """Build a Struct from a mapping, as far as that goes, so that what depends on it can be checked as well.

        With a problem noted, the Struct may lack settings that could not be read, and its lists may hold INVALID; it
        is INVALID itself where a required setting is. Nothing of it may be used once `problems` has grown.
        """
        if not isinstance(value, dict):
            self.problem(path, f"expected a mapping, got {_word(type(value))}")
            return INVALID
        fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
        for key in value:
            if key not in fields:
                self.problem((*path, key), f"unknown setting; {nearest(key, fields)}")
        built: dict[str, Any] = {}
        complete = True
        for name, field in fields.items():
            if name in value:
                converted = self.convert(value[name], field.type, (*path, name))
                if converted is not INVALID:
                    built[field.name] = converted
                complete = complete and not (converted is INVALID and field.required)
            elif field.required:
                self.problem((*path, name), f"missing; it must be {_describe(field.type)}")
                complete = False
        return self._instance(wanted, built, path) if complete else INVALID

    def _instance(self, wanted: type[StructT], built: dict[str, Any], path: SettingPath) -> StructT | Invalid:
        try:
            return wanted(**built)
        except (TypeError, ValueError) as error:  # raised by a __post_init__
            self.problem(path, str(error))
        except Exception as error:  # noqa: BLE001 - a stranger's __post_init__, perhaps before an INVALID in a list
            if not self.problems:
                self.problem(path, f"cannot be checked: {error!r}")
        return INVALID

    def extension_settings(self, value: Any, wanted: type[StructT], path: SettingPath) -> StructT | Invalid:
        """Build a Struct that is wholly right; INVALID, and at least one problem more, if there is anything wrong."""
        before = self._faults
        built = self.struct(value, wanted, path)
        return built if self._faults == before else INVALID

    def convert(self, value: Any, wanted: Any, path: SettingPath) -> Any:
        """Convert one value to a type; INVALID if that cannot be done, which is a problem unless it is one already."""
        if value is UNREADABLE:
            self._unreadable += 1
            return INVALID
        if wanted is Any:
            return value  # whoever knows its type will look at it again
        origin, arguments = get_origin(wanted), get_args(wanted)
        if origin in (Union, types.UnionType):
            if value is None and type(None) in arguments:
                return None
            rest = [argument for argument in arguments if argument is not type(None)]
            if len(rest) == 1:
                return self.convert(value, rest[0], path)
        if isinstance(wanted, type) and issubclass(wanted, Struct):
            return self.struct(value, wanted, path)
        return self._container(value, wanted, path)

    def _container(self, value: Any, wanted: Any, path: SettingPath) -> Any:
        origin, arguments = get_origin(wanted), get_args(wanted)
        if origin is Annotated and get_origin(arguments[0]) in (*_SEQUENCES, dict):
            before = self._faults
            items = self.convert(value, arguments[0], path)
            return self._leaf(items, wanted, path) if self._faults == before else items
        if origin in _SEQUENCES and isinstance(value, list):
            return origin([self.convert(item, arguments[0], (*path, index)) for index, item in enumerate(value)])
        if origin is dict and arguments[0] is str and isinstance(value, dict):
            converted = {key: self.convert(item, arguments[1], (*path, key)) for key, item in value.items()}
            return {key: item for key, item in converted.items() if item is not INVALID}
        return self._leaf(value, wanted, path)

    def _leaf(self, value: Any, wanted: Any, path: SettingPath) -> Any:
        try:
            lax = isinstance(value, FromEnvironment)
            return msgspec.convert(str(value) if lax else value, wanted, dec_hook=_decode_custom, strict=not lax)
        except msgspec.ValidationError as error:
            self.problem(path, f"{_reason(error, wanted, value)}")
            return INVALID


def _decode_custom(wanted: type, value: Any) -> Any:
    if isinstance(value, wanted):
        return value
    if wanted in (Secret, Path) and isinstance(value, str):
        return wanted(value)
    raise msgspec.ValidationError(f"Expected `{_word(wanted)}`, got `{_word(type(value))}`")


def _reason(error: msgspec.ValidationError, wanted: Any, value: Any) -> str:
    """Our words where the type is wrong; msgspec's where a bound or a pattern is, which name no value either."""
    text = str(error).split(" - at ")[0]
    if text.startswith("Expected") and "got `" in text:
        return f"expected {_describe(wanted)}, got {_word(type(value))}"
    if text.startswith("Invalid enum value"):
        return f"expected {_describe(wanted)}"
    text = re.sub(r"`(\w+)`", lambda match: _MSGSPEC_WORDS.get(match[1], match[0]), text)
    return text[0].lower() + text[1:]


def _describe(wanted: Any) -> str:
    origin = get_origin(wanted)
    if origin is Annotated:
        return _describe(get_args(wanted)[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in get_args(wanted))
    if origin is Literal:
        return " or ".join(repr(choice) for choice in get_args(wanted))
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return " or ".join(repr(choice.value) for choice in wanted)
    if isinstance(wanted, type) and issubclass(wanted, Struct):
        return "a mapping"
    return _word(origin or wanted)


def _word(kind: Any) -> str:
    return _WORDS.get(kind) or str(getattr(kind, "__name__", kind))


def json_schema(wanted: type[Struct]) -> dict[str, Any]:
    """The JSON Schema of a settings type, for editors and `moegate plugins --json`.

    Raises:
        ConfigError: a default cannot be written as JSON.
    """
    try:
        return msgspec.json.schema(wanted, schema_hook=_schema_of_custom)
    except TypeError as error:
        raise ConfigError(f"{wanted.__name__} has no JSON Schema: {error}; give such a default by a factory") from error


def _schema_of_custom(wanted: type) -> dict[str, Any]:
    if wanted is Secret:
        return {"type": "string", "writeOnly": True}
    return {"type": "string"}
