"""Edits single server-sent events, and finds the errors that engines put into them; knows no API's events by name."""

from __future__ import annotations

from typing import Protocol

from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError


class ErrorReader(Protocol):
    """Who knows the engine's errors: its backend."""

    def error_in(self, payload: bytes) -> UpstreamError | None:
        """The error that an event or an answer with status 200 holds, if it does."""


def with_payload(event: bytes, payload: bytes) -> bytes:
    """The same event with another payload, which holds no line end; its other fields and its line ends stay."""
    lines: list[bytes] = []
    placed = False
    for line in event.splitlines(keepends=True):
        if not line.startswith(b"data:"):
            lines.append(line)
        elif not placed:
            lines.append(b"data: " + payload + line[len(line.rstrip(b"\r\n")) :])
            placed = True
    return b"".join(lines)


def name_of(event: bytes) -> bytes | None:
    """The name that an event bears; the last counts."""
    names = [line[6:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"event:")]
    return names[-1] if names else None


def error_payload(event: bytes) -> bytes | None:
    """What an event says that is by its own fields an error: named `error`, or with a field `error:`, as llama.cpp wrote it."""
    if b"error" not in event:
        return None
    lines = [line[6:].strip() for line in event.splitlines() if line.startswith(b"error:")]
    if lines:
        return b"\n".join(lines)
    return sse.data(event) or b"{}" if name_of(event) == b"error" else None


def error_from(backend: ErrorReader, payload: bytes) -> UpstreamError:
    """The error that a payload is known to hold, in whatever shape."""
    error = backend.error_in(payload)
    if error is None:  # what only the event's own fields, or a status, call an error
        error = backend.error_in(b'{"error":' + payload + b"}")
    return error or UpstreamBroken("an error that says nothing")
