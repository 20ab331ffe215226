"""Holds one answer against its own request: schemas of tool calls, undeclared tools, markers, emptiness, JSON; compares nothing.

Schema validity is K2-Vendor-Verifier's: an answer that ends with `tool_calls` is valid if every call of it names a declared tool
and its arguments fit that tool's schema (jsonschema).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import jsonschema
import msgspec
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from plugins.experiments.compare.results import Answer, Checks, ToolCall

Json = dict[str, Any]

# The template's own words (reference: Kimi K2's chat template) must never be read by anyone.
_MARKER = re.compile(r"<\|(?:tool_calls?_[a-z_]+|im_[a-z]+|media_[a-z]+)\|>|\[(?:BOS|EOS)\]|</?think>")
_MOST_SCHEMAS = 512


class Checker:
    """Checks answers; keeps the validators of the last schemas that it saw."""

    def __init__(self) -> None:
        self._validators: OrderedDict[bytes, Validator | None] = OrderedDict()

    def check(self, body: Json, answer: Answer) -> Checks:
        """All checks of one whole answer; of an error there is nothing to check."""
        if answer.error:
            return Checks()
        declared = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
        faults = [fault for each in answer.tool_calls if (fault := self._fault(each, declared))]
        marker = _MARKER.search(answer.text)
        return Checks(
            schema_valid=not faults if answer.finish_reason == "tool_calls" else None,
            undeclared=tuple(sorted({each.name for each in answer.tool_calls} - declared.keys())),
            marker=marker[0] if marker else "",
            empty=not answer.text.strip() and not answer.tool_calls,
            json_valid=self._json_valid(body, answer),
            fault=faults[0][:300] if faults else "",
        )

    def _fault(self, call: ToolCall, declared: Json) -> str:
        """What is wrong with a tool call; nothing if it is valid."""
        if call.name not in declared:
            return f"{call.name!r} was not declared"
        try:
            arguments = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return f"{call.name}: arguments are no JSON: {error}"
        # A tool without a schema takes anything that is an object.
        schema = declared[call.name].get("parameters") or {"type": "object"}
        return self._misfit(schema, arguments, call.name)

    def _misfit(self, schema: Any, value: Any, name: str) -> str:
        validator = self._validator(schema)
        if validator is None:
            return f"{name}: its schema is none"
        try:
            # Not `best_match`: it walks all faults, and one is enough.
            error = next(iter(validator.iter_errors(value)), None)
        except (RecursionError, re.error, Unresolvable) as broken:
            return f"{name}: its schema cannot be applied: {type(broken).__name__}"
        return f"{name}: {error.json_path}: {error.message}" if error is not None else ""

    def _validator(self, schema: Any) -> Validator | None:
        key = msgspec.json.encode(schema)
        if key in self._validators:
            self._validators.move_to_end(key)
            return self._validators[key]
        validator: Validator | None = None
        kind = validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(schema)
            # A registry of its own: a schema must not make us fetch what it refers to.
            validator = kind(schema, registry=Registry())
        except jsonschema.exceptions.SchemaError:
            validator = None
        self._validators[key] = validator
        if len(self._validators) > _MOST_SCHEMAS:
            self._validators.popitem(last=False)
        return validator

    def _json_valid(self, body: Json, answer: Answer) -> bool | None:
        """None where JSON was not asked for, or tools were called instead."""
        wanted = body.get("response_format")
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if kind not in ("json_object", "json_schema") or answer.tool_calls:
            return None
        try:
            value = msgspec.json.decode(answer.text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if kind == "json_object":
            return isinstance(value, dict)
        described = wanted.get("json_schema") if isinstance(wanted, dict) else None
        schema = described.get("schema") if isinstance(described, dict) else None
        return schema is None or not self._misfit(schema, value, "response_format")
