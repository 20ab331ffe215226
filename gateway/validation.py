"""Turns plain data into msgspec Structs and finds every fault at once, each with its path; never prints a value."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from gateway.config_file import Document, FromEnvironment, Path
from gateway.contracts.plugin import Secret
from gateway.registry import nearest

StructT = TypeVar("StructT", bound=Struct)

_WORDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    Secret: "text",
    type(None): "nothing",
}


class Invalid:
    """Stands where a value would, when there is none."""


INVALID = Invalid()


class Validator:
    """Collects the problems of one document. `problems` is complete when every part was converted."""

    def __init__(self, document: Document) -> None:
        self.problems: list[str] = list(document.problems)
        self._document = document

    def problem(self, path: Path, text: str) -> None:
        """Note a fault that only the caller could see."""
        self.problems.append(self._document.problem(path, text))

    def struct(self, value: Any, wanted: type[StructT], path: Path) -> StructT | Invalid:
        """Build a Struct from a mapping; INVALID, and at least one problem more, if that cannot be done."""
        if not isinstance(value, dict):
            self.problem(path, f"expected a mapping, got {_word(type(value))}")
            return INVALID
        fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
        for key in value.keys() - fields.keys():
            self.problem((*path, key), f"unknown setting; {nearest(key, fields)}")
        complete = value.keys() <= fields.keys()
        built: dict[str, Any] = {}
        for name, field in fields.items():
            if name in value:
                built[field.name] = self.convert(value[name], field.type, (*path, name))
            elif field.required:
                self.problem((*path, name), f"missing; it must be {_describe(field.type)}")
                complete = False
        if not complete or INVALID in built.values():
            return INVALID
        try:
            return wanted(**built)
        except (TypeError, ValueError) as error:  # raised by a __post_init__
            self.problem(path, str(error))
            return INVALID

    def convert(self, value: Any, wanted: Any, path: Path) -> Any:
        """Convert one value to a type; INVALID, and at least one problem more, if that cannot be done."""
        origin, arguments = get_origin(wanted), get_args(wanted)
        if origin in (Union, types.UnionType):
            if value is None and type(None) in arguments:
                return None
            rest = [argument for argument in arguments if argument is not type(None)]
            if len(rest) == 1:
                return self.convert(value, rest[0], path)
        if isinstance(wanted, type) and issubclass(wanted, Struct):
            return self.struct(value, wanted, path)
        if origin in (list, tuple, set, frozenset) and isinstance(value, list):
            items = [self.convert(item, arguments[0], (*path, index)) for index, item in enumerate(value)]
            return INVALID if INVALID in items else origin(items)
        return self._leaf(value, wanted, path)

    def _leaf(self, value: Any, wanted: Any, path: Path) -> Any:
        try:
            lax = isinstance(value, FromEnvironment)
            return msgspec.convert(str(value) if lax else value, wanted, dec_hook=_decode_custom, strict=not lax)
        except msgspec.ValidationError as error:
            self.problem(path, f"{_reason(error, wanted, value)}")
            return INVALID


def _decode_custom(wanted: type, value: Any) -> Any:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected `{_word(wanted)}`, got `{_word(type(value))}`")


def _reason(error: msgspec.ValidationError, wanted: Any, value: Any) -> str:
    """Our words where the type is wrong; msgspec's where a bound or a pattern is, which name no value either."""
    text = str(error).split(" - at ")[0]
    if text.startswith("Expected") and "got `" in text:
        return f"expected {_describe(wanted)}, got {_word(type(value))}"
    return text[0].lower() + text[1:]


def _describe(wanted: Any) -> str:
    origin = get_origin(wanted)
    if origin is Annotated:
        return _describe(get_args(wanted)[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in get_args(wanted))
    if isinstance(wanted, type) and issubclass(wanted, Struct):
        return "a mapping"
    return _word(origin or wanted)


def _word(kind: Any) -> str:
    return _WORDS.get(kind) or str(getattr(kind, "__name__", kind))


def json_schema(wanted: type[Struct]) -> dict[str, Any]:
    """The JSON Schema of a settings type, for editors and `moegate plugins --json`."""
    return msgspec.json.schema(wanted, schema_hook=_schema_of_custom)


def _schema_of_custom(wanted: type) -> dict[str, Any]:
    if wanted is Secret:
        return {"type": "string", "writeOnly": True}
    return {"type": "string"}
