"""Gives clients what a model thought under the names the configuration wants, whatever the engine calls it."""

from __future__ import annotations

import re
from functools import lru_cache

from backends.answers.drafts import Cut, is_null

# vLLM writes the second, SGLang, KTransformers and llama.cpp the first, TensorRT-LLM both of which one is empty.
ENGINE_FIELDS = ("reasoning_content", "reasoning")

_EMPTY = b'""'

# A field that tells something. vLLM writes nulls into every answer, which would all be taken apart for nothing.
_TOLD = re.compile(rb'"reasoning(?:_content)?"\s*+:\s*+(?!null\b)')


@lru_cache(maxsize=64)
def reasoning_fields(engine_field: str | None, wanted: tuple[str, ...]) -> ReasoningFields:
    """The renaming for one engine and model; it keeps nothing of a call."""
    return ReasoningFields(engine_field, wanted)


class ReasoningFields:
    """Renames the field of answers.

    Args:
        engine_field: what the engine calls it; None if it may be any of the known names.
        wanted: what the client gets.

    Attributes:
        marks: bytes, one of which is in every tightly written event of interest; none where the engine writes what is wanted.
    """

    __slots__ = ("_wanted", "marks")

    def __init__(self, engine_field: str | None, wanted: tuple[str, ...]) -> None:
        self._wanted = wanted
        names = (engine_field,) if engine_field is not None else ENGINE_FIELDS
        # Where one of them alone is wanted, it is right already; only the others are of interest.
        right = wanted if len(wanted) == 1 else ()
        self.marks = tuple(f'"{name}":'.encode() for name in names if name not in right)

    def concern(self, event: bytes) -> bool:
        """Whether it is worth decoding an event, however its JSON is spaced."""
        return bool(self.marks) and b'"reasoning' in event and _TOLD.search(event) is not None

    def edit(self, message: Cut) -> bool:
        """Rename within a message or what a chunk adds to it; say whether anything changed.

        Where nothing is told, nulls stay as they are: some engines write them into everything.
        """
        told = [name for name in (*self._wanted, *ENGINE_FIELDS) if name in message and not is_null(message[name])]
        if not told:
            return False
        name = next((name for name in told if bytes(message[name]) != _EMPTY), told[0])
        value = message[name]
        unwanted = [name for name in ENGINE_FIELDS if name in message and name not in self._wanted]
        lacking = [name for name in self._wanted if name not in told or bytes(message[name]) == _EMPTY != bytes(value)]
        for name in unwanted:
            del message[name]
        for name in lacking:
            message[name] = value
        return bool(unwanted or lacking)
