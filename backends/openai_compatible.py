"""Any engine that speaks OpenAI's API, and the shared base of those that nearly do; knows no quirk of a particular one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

import httpx
import msgspec
from msgspec import Raw, Struct

from gateway import (
    Backend,
    BuildContext,
    Call,
    Extension,
    Launcher,
    Meter,
    NoSettings,
    Operation,
    Probe,
    Replica,
    ReplicaState,
    UpstreamRequest,
    Usage,
    hookimpl,
)
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamRefused

PATHS = {Operation.CHAT: "/v1/chat/completions", Operation.COMPLETIONS: "/v1/completions"}

_HEADERS = ((b"content-type", b"application/json"), (b"accept-encoding", b"identity"))
_WANT_USAGE = Raw(b'{"include_usage":true}')
_MAX_MESSAGE = 2_000
RETRY_AFTER_SECONDS = 1.0

_TOP_LEVEL = msgspec.json.Decoder(dict[str, Raw])
_ENCODE = msgspec.json.Encoder().encode


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


class _ErrorObject(Struct, frozen=True):
    message: str = ""
    type: str | None = None
    param: str | None = None
    code: int | str | None = None


class _ErrorBody(Struct, frozen=True):
    """OpenAI nests the error; others write it flat, or as one string."""

    error: _ErrorObject | str | None = None
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


class OpenAICompatible:
    """The backend; subclasses say what their engine does otherwise."""

    kind: ClassVar[str] = "openai_compatible"
    operations: ClassVar[frozenset[Operation]] = frozenset(PATHS)
    launcher: ClassVar[Launcher | None] = None
    probe_path: ClassVar[str] = "/v1/models"
    # 400 is not here: an engine that finds a request wrong finds it wrong everywhere.
    overloaded_statuses: ClassVar[frozenset[int]] = frozenset({429, 502, 503, 504})

    def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
        """Rename the model, and make sure that a stream ends with its usage."""
        body = call.body
        asks_usage = call.stream and not call.wants_usage
        if asks_usage or call.requested_model != replica.served_model:
            fields = _TOP_LEVEL.decode(body)
            if call.requested_model != replica.served_model:
                fields["model"] = Raw(_ENCODE(replica.served_model))
            if asks_usage:
                fields["stream_options"] = (
                    _with_usage(fields["stream_options"]) if call.sets_stream_options else _WANT_USAGE
                )
            body = _ENCODE(fields)
        return UpstreamRequest(PATHS[call.operation], (*_HEADERS, (b"x-request-id", attempt_id.encode())), body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        """Tell an overload, which another replica may not have, from a refusal, which all would repeat."""
        found = _read_error(body)
        if status in self.overloaded_statuses:
            return UpstreamOverloaded(
                f"status {status}: {found.message[:200]}", retry_after_seconds=RETRY_AFTER_SECONDS
            )
        if 400 <= status < 500 and status not in (401, 403, 404, 407):  # noqa: PLR2004 - the range of 4xx
            return UpstreamRefused(
                clean(found.message) or f"The engine refused the request with status {status}.",
                engine_status=status,
                engine_type=found.type if found.type and not found.type.isdigit() else None,
                param=found.param,
            )
        # 401, 403 and 404 of an engine mean that our own configuration is wrong, which is not the client's to see.
        return UpstreamBroken(f"status {status}: {found.message[:200]}")

    def read_first_event(self, event: bytes) -> UpstreamError | None:
        """An error object where a chunk should be."""
        if b'"error"' not in event:
            return None
        payload = sse.data(event)
        return self.error_in(payload) if payload is not None else None

    def error_in(self, payload: bytes) -> UpstreamError | None:
        """The error that an event or an answer with status 200 holds; its own code says what kind it is."""
        try:
            if _ANSWER.decode(payload).error is None:
                return None
        except msgspec.DecodeError:
            return UpstreamBroken("an event that is not JSON")
        code = _read_error(payload).code
        status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdigit()) else 500
        return self.read_error(status, payload)

    def new_meter(self, call: Call) -> Meter:
        """A meter that hides usage from a client that did not ask for it."""
        return OpenAIMeter(self, hide_usage=call.stream and not call.wants_usage)

    async def probe(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """Ready when the probe path answers 200."""
        try:
            response = await client.get(replica.url + self.probe_path)
        except httpx.HTTPError as error:
            return Probe(ReplicaState.UNREACHABLE, f"the probe failed with {type(error).__name__}")
        if response.status_code == httpx.codes.OK:
            return Probe(ReplicaState.READY)
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return Probe(ReplicaState.STARTING, "the engine says that it is not ready")
        return Probe(ReplicaState.UNREACHABLE, f"the probe was answered with {response.status_code}")


class OpenAIMeter:
    """Reads chunks of chat and completions. Only events that may hold something of interest are decoded."""

    __slots__ = ("_backend", "_done", "_hide_usage", "error", "events", "finish_reason", "usage")

    def __init__(self, backend: OpenAICompatible, *, hide_usage: bool) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.events = 0
        self.error: UpstreamError | None = None
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
            self.error = self._backend.read_first_event(event)
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


def _with_usage(stream_options: Raw) -> Raw:
    """The client's own stream options, with usage asked for."""
    try:
        fields = _TOP_LEVEL.decode(stream_options)
    except msgspec.DecodeError:  # null
        return _WANT_USAGE
    fields["include_usage"] = Raw(b"true")
    return Raw(_ENCODE(fields))


def _usage(found: _Usage) -> Usage:
    prompt, completion = found.prompt_tokens_details, found.completion_tokens_details
    return Usage(
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cached_tokens=prompt.cached_tokens if prompt is not None else None,
        reasoning_tokens=completion.reasoning_tokens if completion is not None else None,
    )


def _read_error(body: bytes) -> _ErrorObject:
    """Read any of the shapes that engines write errors in."""
    try:
        found = _ERROR.decode(body)
    except msgspec.DecodeError:
        return _ErrorObject()
    if isinstance(found.error, _ErrorObject):
        return found.error
    text = found.error or found.message or found.detail or ""
    return _ErrorObject(text, found.type, found.param, found.code)


def clean(message: str) -> str:
    """An engine's message without addresses and file paths, and not without end."""
    return _LEAKS.sub("…", message)[:_MAX_MESSAGE]


def _build(_: NoSettings, __: BuildContext) -> Backend:
    return OpenAICompatible()


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("openai_compatible", NoSettings, _build)]
