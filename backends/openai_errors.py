"""Reads the errors that engines answer with, in any of the shapes they use, and takes out what a client must not see."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

_MAX_MESSAGE = 2_000


class ErrorObject(Struct, frozen=True):
    """What an engine says of an error; an empty message where it says nothing that can be read."""

    message: str = ""
    type: str | None = None
    param: str | None = None
    code: int | str | None = None


class _ErrorBody(Struct, frozen=True):
    """OpenAI nests the error; others write it flat, or as one string."""

    error: ErrorObject | str | None = None
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: int | str | None = None
    detail: str | None = None


_ERROR = msgspec.json.Decoder(_ErrorBody, strict=False)

# What an engine's message may say of the machine it runs on.
# Engines repeat what callers wrote, so each branch starts at a boundary: the time stays linear in the message's length.
_LEAKS = re.compile(
    r"(?:(?<![A-Za-z])[A-Za-z]+://[^\s'\"]+)"
    r"|(?:(?<![\w.])/(?:[\w.@+-]+/)+[\w.@+-]*)"
    r"|(?:\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b)"
)


def read_error_object(body: bytes) -> ErrorObject:
    """Read any of the shapes that engines write errors in."""
    try:
        found = _ERROR.decode(body)
    except msgspec.DecodeError:
        return ErrorObject()
    if isinstance(found.error, ErrorObject):
        return found.error
    text = found.error or found.message or found.detail or ""
    return ErrorObject(text, found.type, found.param, found.code)


def clean(message: str) -> str:
    """An engine's message without addresses and file paths, and not without end."""
    return _LEAKS.sub("…", message)[:_MAX_MESSAGE]
