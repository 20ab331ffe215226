"""Cuts an OpenAI-shaped answer as deep as edits need; what is not touched stays byte for byte."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

_CUT = msgspec.json.Decoder(dict[str, Raw] | None)
_CUT_LIST = msgspec.json.Decoder(list[dict[str, Raw]] | None)
_ENCODE = msgspec.json.Encoder().encode

# What every chunk of a stream repeats.
_OF_THE_STREAM = ("id", "object", "created", "model", "system_fingerprint")

Cut = dict[str, Any]
"""A JSON object: its values are Raw where nobody looked into them."""


def cut(value: Raw | bytes) -> Cut:
    """A JSON object, cut at its top; empty for null."""
    return dict(_CUT.decode(value) or {})


def cut_list(value: Raw | bytes) -> list[Cut]:
    """A list of JSON objects, each cut at its top; empty for null."""
    return [dict(each) for each in _CUT_LIST.decode(value) or []]


def encode(value: Any) -> bytes:
    """JSON without blanks."""
    return _ENCODE(value)


def is_null(value: Any) -> bool:
    """Whether a field is not there, or null."""
    return value is None or (isinstance(value, Raw) and bytes(value) == b"null")


class Draft:
    """A chunk or an answer on its way to the client. Whoever edits it sets `changed`.

    Attributes:
        fields: the top level.
        choices: its choices, whose `delta` or `message` is cut as well.
    """

    __slots__ = ("changed", "choices", "fields")

    def __init__(self, payload: bytes) -> None:
        self.changed = False
        self.fields = cut(payload)
        self.choices = cut_list(self.fields["choices"]) if "choices" in self.fields else []
        for choice in self.choices:
            for part in ("delta", "message"):
                if part in choice and not is_null(choice[part]):
                    choice[part] = cut(choice[part])

    @staticmethod
    def message(choice: Cut) -> Cut | None:
        """What a choice says: all of it, or what it adds."""
        found = choice.get("delta", choice.get("message"))
        return found if isinstance(found, dict) else None

    def encode(self) -> bytes:
        """The whole as JSON."""
        if "choices" in self.fields:
            self.fields["choices"] = self.choices
        return encode(self.fields)

    def beside(self, *choices: Cut, **more: Any) -> bytes:
        """Another chunk of the same stream."""
        own = {name: self.fields[name] for name in _OF_THE_STREAM if name in self.fields}
        return encode({**own, "choices": choices, **more})
