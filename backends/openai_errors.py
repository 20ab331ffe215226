"""Reads the errors that engines answer with, in any of the shapes they use, and takes out what a client must not see."""

from __future__ import annotations

import re
from typing import Any

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
    """OpenAI nests the error, as Anthropic does; others write it flat, or as one string, or as a list of findings."""

    error: Any = None
    message: Any = None
    type: Any = None
    param: Any = None
    code: Any = None
    detail: Any = None
    object: Any = None
    response: Any = None


_BODY = msgspec.json.Decoder(_ErrorBody)

# What a type says of the status, where no code does: vLLM's and TensorRT-LLM's words, then Anthropic's.
_STATUSES = {
    "BadRequestError": 400,
    "NotFoundError": 404,
    "UnprocessableEntityError": 422,
    "InternalServerError": 500,
    "ServiceUnavailableError": 503,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 503,
    "unavailable_error": 503,
}

# What an engine's message may say of the machine it runs on.
# Engines repeat what callers wrote, so each branch starts at a boundary: the time stays linear in the message's length.
_LEAKS = re.compile(
    r"(?:(?<![A-Za-z])[A-Za-z]+://[^\s'\"]+)"
    r"|(?:(?<![\w.])~?/(?:[\w.@+-]+/)+[\w.@+-]*)"
    r"|(?:(?<![A-Za-z])[A-Za-z]:\\[^\s'\"]*)"
    r"|(?:\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b)"
    r"|(?:(?<![\w.])localhost(?::\d+)?\b)"
    r"|(?:\b0x[0-9a-fA-F]{6,}\b)"
)
# From here on, an engine speaks of its own source.
_FRAMES = ("Traceback (most recent call last)", '\n  File "')

# A finding of pydantic's in Python's own form, which engines print into their messages: where, and what.
_WHERE, _WHAT = "'loc': ", ", 'msg': "
_LONGEST_PLACE = 500
# Of a place, what a client wrote: names and indices, and none of pydantic's classes and functions.
_STEPS = re.compile(r"(?<![^'., (])(?:[a-z_][a-z0-9_]*|\d+)(?![^'., )])")

# Where a field is, as pydantic and OpenAI write it; anything else names no field.
_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,127}")


def read_error_object(body: bytes) -> ErrorObject:
    """Read any of the shapes that engines write errors in."""
    try:
        found = _BODY.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ErrorObject()
    return _readable(_nested(found.error) or _findings(found.detail) or _flat(found))


def error_in_answer(payload: bytes) -> ErrorObject | None:
    """The error that an event, or an answer with status 200, is; None if it is none.

    Raises:
        msgspec.DecodeError: it is no JSON object.
    """
    found = _BODY.decode(payload)
    if found.error is not None:
        return _nested(found.error) or _flat(found)
    if found.object == "error" or found.type == "error":  # SGLang's flat shape; the Responses API's event
        return _flat(found)
    if found.type == "response.failed" and isinstance(found.response, dict):
        return _nested(found.response.get("error")) or ErrorObject()
    return None


def status_in(found: ErrorObject) -> int:
    """The status that an error names by itself; 500 if it names none."""
    if isinstance(found.code, int):
        return found.code
    if found.code is not None and found.code.isdecimal() and len(found.code) == 3:  # noqa: PLR2004 - a status has three
        return int(found.code)
    return _STATUSES.get(found.type or "", 500)


def clean(message: str) -> str:
    """An engine's message without addresses and file paths, and not without end."""
    text = message[: 8 * _MAX_MESSAGE]  # what comes after that costs nothing
    for frame in _FRAMES:
        text = text.partition(frame)[0]
    return _LEAKS.sub("…", text).strip()[:_MAX_MESSAGE]


def clean_param(param: str | None) -> str | None:
    """The field to blame as the client wrote it, if the engine names one."""
    if param is None:
        return None
    name = param.removeprefix("body.")
    return name if _PARAM.fullmatch(name) else None


def _readable(found: ErrorObject) -> ErrorObject:
    """An error whose message is a printed finding, with the first of these in words."""
    where, printed, rest = found.message.partition(_WHERE)
    place, told, _ = rest[: _LONGEST_PLACE + len(_WHAT)].partition(_WHAT)
    text = rest[len(place) + len(_WHAT) :] if told else ""
    end = text.find(text[0], 1) if text[:1] in ("'", '"') else -1
    if not printed or "{" not in where or end < 0:
        return found
    steps = [step for step in _STEPS.findall(place) if step != "body"]
    param = ".".join(steps) if any(not step.isdecimal() for step in steps) else None
    message = f"{param}: {text[1:end]}" if param is not None else text[1:end]
    return ErrorObject(message, found.type, param or found.param, found.code)


def _nested(error: Any) -> ErrorObject | None:
    if isinstance(error, dict):
        return ErrorObject(
            _text(error.get("message")) or "",
            _text(error.get("type")),
            _text(error.get("param")),
            _code(error.get("code")),
        )
    return ErrorObject(error) if isinstance(error, str) else None


def _findings(detail: Any) -> ErrorObject | None:
    """FastAPI's `detail`: a text, or a list of findings of which the first is told."""
    if isinstance(detail, str):
        return ErrorObject(detail)
    first = detail[0] if isinstance(detail, list) and detail else None
    if not isinstance(first, dict):
        return None
    place = first.get("loc")
    param = ".".join(map(str, place)) if isinstance(place, list) else None
    message = _text(first.get("msg")) or ""
    return ErrorObject(f"{clean_param(param)}: {message}" if clean_param(param) else message, param=param)


def _flat(found: _ErrorBody) -> ErrorObject:
    return ErrorObject(_text(found.message) or "", _text(found.type), _text(found.param), _code(found.code))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _code(value: Any) -> int | str | None:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None
