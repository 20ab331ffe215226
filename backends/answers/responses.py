"""Meters answers of OpenAI's Responses API, streamed and whole; every event names its type."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from backends.answers.drafts import Cut, cut, cut_list, encode
from backends.answers.event_places import EVENT_PLACES, EventPlaces
from backends.answers.events import ErrorReader, error_from, error_payload, with_payload
from backends.answers.meter import AnswerMeter
from backends.answers.tool_leaks import MARKERS
from backends.answers.tools import TOOL_IDS, TOOL_LEAK, CallIds, openai_id
from backends.answers.usage import is_said, latest, read_responses
from gateway import Call, UpstreamRequest, Usage
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError

_BEGIN = "response.created"
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_MARKERS = tuple(marker.encode() for marker in MARKERS)


class _Reason(Struct, frozen=True):
    reason: Any = None


class _Response(Struct, frozen=True):
    """A response, as far as it is finished."""

    model: Any = None
    status: Any = None
    usage: Raw = Raw()
    error: Any = None
    object: Any = None
    incomplete_details: _Reason | None = None


class _Event(Struct, frozen=True):
    type: Any = None
    response: Raw = Raw()
    item: Raw = Raw()
    error: Any = None
    object: Any = None
    sequence_number: Any = None


class _Item(Struct, frozen=True):
    type: Any = None
    call_id: Any = None
    name: Any = None


_READ_EVENT = msgspec.json.Decoder(_Event).decode
_READ = msgspec.json.Decoder(_Response).decode
_READ_ITEM = msgspec.json.Decoder(_Item).decode


class ResponsesMeter(AnswerMeter):
    """Reads one answer. Leaked tool calls are counted, not mended: every later item and event would have to move."""

    __slots__ = ("_call_ids", "_done", "_has_tools", "_ids", "_places")

    def __init__(self, call: Call, request: UpstreamRequest, backend: ErrorReader) -> None:
        super().__init__(call, request, backend)
        self._has_tools = call.has_tools
        self._ids = CallIds(self._sent, openai_id)
        self._call_ids: dict[str, str] = {}
        self._done = False
        self._places: EventPlaces | None = None

    def feed_events(self, events: bytes) -> bytes:
        """Count, and look closer at all but what an item adds."""
        if self.error is None and self._places is None and _is_delta(events):
            self.events += 1
            return events
        taken = []
        for event in sse.split(events):
            shown = self._take(event)
            taken.append(self._places.place(shown) if self._places is not None and shown else shown)
        return b"".join(taken)

    def _take(self, event: bytes) -> bytes:
        if self.error is not None:
            return b""
        if _is_delta(event):
            self.events += 1
            return event
        failure = error_payload(event)
        if failure is not None:
            return self._fail(failure)
        payload = sse.data(event)
        if payload is None or payload == b"[DONE]":  # no part of this API, but harmless
            return event
        try:
            return self._look(event, payload)
        except msgspec.DecodeError:
            self.error = UpstreamBroken("an event that is not JSON")
            return b""

    def _look(self, event: bytes, payload: bytes) -> bytes:
        """Decode one event; return what the client shall see of it."""
        found = _READ_EVENT(payload)
        if found.type == "error" or found.error is not None or found.object == "error":
            return self._fail(payload)
        if found.type == _BEGIN and found.sequence_number is None:
            self._places = EventPlaces()
            self._note(EVENT_PLACES)
        edited: Cut = {}
        if is_said(found.response):
            response = bytes(found.response)
            shown = self._read_response(response, ended=found.type in _ENDS)
            if self.error is not None:
                return b""
            self._done = self._done or found.type in _ENDS
            if shown is not response:
                edited["response"] = Raw(shown)
        elif is_said(found.item):
            item = cut(found.item)
            if self._identify(item):
                edited["item"] = item
        self.events += 1
        return with_payload(event, encode({**cut(payload), **edited})) if edited else event

    def _read_response(self, response: bytes, *, ended: bool) -> bytes:
        """Note what a response says of itself; return it as the client shall see it, the same object if unchanged."""
        found = _READ(response)
        fields = cut(response)
        items = cut_list(fields["output"]) if "output" in fields else []
        if is_said(found.usage):
            usage = read_responses(found.usage)
            if ended and usage == Usage() and not items and found.status == "completed":
                # The KTransformers fork ends a stream so whose request found no place.
                self.error = UpstreamBroken("a response that is complete without a prompt read or an answer written")
                return b""
            self.usage = latest(self.usage, usage)
        if ended:
            details = found.incomplete_details
            reason = details.reason if details is not None and details.reason is not None else found.status
            self.finish_reason = reason if isinstance(reason, str) else None
            if found.status in {"failed", "cancelled"}:
                self._fail(response)
                return b""
            if self._has_tools and any(marker in response for marker in _MARKERS):
                self._note(TOOL_LEAK)
        edited: Cut = {}
        if self._places is not None and not ended:  # such an engine begins with hardly more than an id
            edited = {name: value for name, value in (("model", self._served), ("output", [])) if name not in fields}
        if isinstance(found.model, str) and found.model != self._served:
            edited["model"] = self._served
        identified = [self._identify(item) for item in items]
        if any(identified):
            edited["output"] = items
        return encode({**fields, **edited}) if edited else response

    def _identify(self, item: Cut) -> bool:
        """Give a call the id that the client shall know it by; say whether it had another."""
        found = _READ_ITEM(encode(item))
        if found.type != "function_call" or not isinstance(found.call_id, str) or self._sent is None:
            return False
        if found.call_id not in self._call_ids:
            name = found.name if isinstance(found.name, str) else ""
            self._call_ids[found.call_id] = self._ids.take(name, found.call_id)
        identity = self._call_ids[found.call_id]
        if identity == found.call_id:
            return False
        item["call_id"] = identity
        self._note(TOOL_IDS)
        return True

    def _fail(self, payload: bytes) -> bytes:
        self.error = error_from(self._backend, payload)
        return b""

    def end_events(self) -> UpstreamError | None:
        """A stream without a last response was cut short."""
        return None if self._done else UpstreamBroken("the stream ended before its response had")

    def read_body(self, body: bytes) -> bytes:
        """Find usage and end of a whole answer; its bytes stay as they are where nothing has to be mended."""
        try:
            found = _READ(body)
            if found.error is not None or found.object == "error":
                self._fail(body)
                return body
            shown = self._read_response(body, ended=True)
        except msgspec.DecodeError:
            self.error = UpstreamBroken("an answer that is not JSON")
            return body
        return shown if self.error is None else body


def _is_delta(event: bytes) -> bool:
    """Whether this is one event that only adds to an item: engines write thousands, and name them as such."""
    return (
        event.startswith(b"event: response.")
        and event.count(b"\n") == 3  # noqa: PLR2004 - its name, its data, and the empty line
        and event.endswith(b"\n\n")
        and event[: event.find(b"\n")].endswith(b".delta")
    )
