"""In whose words an error is told: OpenAI's, those of its Responses API, or Anthropic's; decides nothing about the error itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

_ENCODE = msgspec.json.Encoder().encode


class Told(Struct, frozen=True, kw_only=True):
    """What a client may read of an error, before it is put into an API's words.

    Attributes:
        type: OpenAI's `error.type`, or the engine's own where a refusal of its is passed on.
        debug: what only the log should see; set where the configuration asks for it.
    """

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    debug: str | None = None


class Shape(Struct, frozen=True):
    """How one API writes its errors.

    Attributes:
        body: the whole answer, from what is told and the call's id.
        event: the last event of a stream that breaks off, from the same and the number of events that came before it.
    """

    body: Callable[[Told, str], bytes]
    event: Callable[[Told, str, int], bytes]


def _openai_body(told: Told, _: str) -> bytes:
    shown: dict[str, Any] = {"message": told.message, "type": told.type, "param": told.param, "code": told.code}
    if told.debug is not None:
        shown["debug"] = told.debug
    return _ENCODE({"error": shown})


def _openai_event(told: Told, call_id: str, _: int) -> bytes:
    return b"data: %b\n\n" % _openai_body(told, call_id)


def _responses_event(told: Told, _: str, events: int) -> bytes:
    # Flat, and numbered like the events before it: the first one has the number 0.
    shown: dict[str, Any] = {
        "type": "error",
        "code": told.code,
        "message": told.message,
        "param": told.param,
        "sequence_number": events,
    }
    if told.debug is not None:
        shown["debug"] = told.debug
    return b"event: error\ndata: %b\n\n" % _ENCODE(shown)


# https://docs.anthropic.com/en/api/errors; theirs for overload goes with a status of their own, 529.
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _anthropic_body(told: Told, call_id: str) -> bytes:
    other = "api_error" if told.status >= 500 else "invalid_request_error"  # noqa: PLR2004 - the range of 5xx
    shown = {"type": _ANTHROPIC_TYPES.get(told.status, other), "message": told.message}
    if told.debug is not None:
        shown["debug"] = told.debug
    return _ENCODE({"type": "error", "error": shown, "request_id": call_id})


def _anthropic_event(told: Told, call_id: str, _: int) -> bytes:
    return b"event: error\ndata: %b\n\n" % _anthropic_body(told, call_id)


OPENAI = Shape(_openai_body, _openai_event)
RESPONSES = Shape(_openai_body, _responses_event)
ANTHROPIC = Shape(_anthropic_body, _anthropic_event)
