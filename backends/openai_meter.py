"""Meters answers of chat and completions in OpenAI's shape: usage, how they ended, errors; decodes only what may tell."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import Struct

from gateway import Usage
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError


class _PromptDetails(Struct, frozen=True):
    cached_tokens: int | None = None


class _CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Choice(Struct, frozen=True):
    finish_reason: str | None = None


class _Answer(Struct, frozen=True):
    """What we read of an answer or of one of its events."""

    usage: _Usage | None = None
    choices: list[_Choice] = []
    error: Any = None  # not Raw, which msgspec does not take in a union


_ANSWER = msgspec.json.Decoder(_Answer)


class ErrorReader(Protocol):
    """Who knows the engine's errors: its backend."""

    def error_in(self, payload: bytes) -> UpstreamError | None:
        """The error that an event or an answer with status 200 holds, if it does."""


class OpenAIMeter:
    """Reads chunks of chat and completions. Only events that may hold something of interest are decoded."""

    __slots__ = ("_backend", "_done", "_hide_usage", "error", "events", "finish_reason", "transforms", "usage")

    def __init__(self, backend: ErrorReader, *, hide_usage: bool) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.events = 0
        self.error: UpstreamError | None = None
        self.transforms: list[str] = []
        self._backend = backend
        self._hide_usage = hide_usage
        self._done = False

    def feed_events(self, events: bytes) -> bytes:
        """Count, and look closer only at events that hold usage, an end or an error."""
        if (
            b'"usage":{' in events
            or b'"finish_reason":"' in events
            or b"[DONE]" in events
            or b'"error"' in events
            or b'": ' in events  # an engine that writes JSON with spaces: the marks above would miss it
        ):
            return b"".join(event for event in sse.split(events) if self._look(event))
        if events.find(b"\n\n") == len(events) - 2:
            self.events += not events.startswith(b":")
        else:
            self.events += sum(not event.startswith(b":") for event in sse.split(events))
        return events

    def _look(self, event: bytes) -> bool:
        """Take one event; say whether the client shall see it."""
        payload = sse.data(event)
        if self.error is not None:
            return False
        if payload is None:
            return True
        if payload == b"[DONE]":
            self._done = True
            return True
        try:
            found = _ANSWER.decode(payload)
        except msgspec.DecodeError:
            self.error = UpstreamBroken("an event that is not JSON")
            return False
        if found.error is not None:
            self.error = self._backend.error_in(payload)
            return False
        if found.usage is not None:
            self.usage = _usage(found.usage)
            if self._hide_usage and not found.choices:
                return False
        self.events += 1
        self._note_end(found)
        return True

    def _note_end(self, found: _Answer) -> None:
        for choice in found.choices:
            if choice.finish_reason is not None:
                self.finish_reason = choice.finish_reason
        if self.finish_reason == "abort":
            self.error = UpstreamBroken("the engine aborted the request")

    def end_events(self) -> UpstreamError | None:
        """A stream without `[DONE]` was cut short, however politely its connection was closed."""
        return None if self._done else UpstreamBroken("the stream ended without [DONE]")

    def read_body(self, body: bytes) -> bytes:
        """Find the usage of a plain answer; its bytes stay as they are."""
        try:
            found = _ANSWER.decode(body)
        except msgspec.DecodeError:
            self.error = UpstreamBroken("an answer that is not JSON")
            return body
        if found.error is not None:
            self.error = self._backend.error_in(body)
        elif found.usage is not None:
            self.usage = _usage(found.usage)
        self._note_end(found)
        return body


def _usage(found: _Usage) -> Usage:
    prompt, completion = found.prompt_tokens_details, found.completion_tokens_details
    return Usage(
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cached_tokens=prompt.cached_tokens if prompt is not None else None,
        reasoning_tokens=completion.reasoning_tokens if completion is not None else None,
    )


def holds_error(payload: bytes) -> bool:
    """Whether an event's payload is an error.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    return _ANSWER.decode(payload).error is not None
