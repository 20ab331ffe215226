"""Meters answers of Anthropic's Messages API, streamed and whole; the shapes are those of its streaming documentation."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from backends.answers.drafts import cut, encode
from backends.answers.events import ErrorReader, error_from, error_payload, with_payload
from backends.answers.message_tools import MessageTools
from backends.answers.meter import AnswerMeter
from backends.answers.names import renamed
from backends.answers.tools import FINISH_REASON, AskedTools
from backends.answers.usage import is_said, latest, read_messages
from gateway import Call, UpstreamRequest
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError

_DELTA = b"event: content_block_delta\n"


class _Message(Struct, frozen=True):
    """A message, or the beginning of one."""

    model: Any = None
    stop_reason: Any = None
    stop_sequence: Any = None
    usage: Raw = Raw()
    type: Any = None
    error: Any = None
    message: Raw = Raw()
    delta: Raw = Raw()


class _Ending(Struct, frozen=True):
    stop_reason: Any = None
    stop_sequence: Any = None


_READ = msgspec.json.Decoder(_Message).decode
_READ_ENDING = msgspec.json.Decoder(_Ending).decode


class MessagesMeter(AnswerMeter):
    """Reads one answer."""

    __slots__ = ("_done", "_tools")

    def __init__(self, call: Call, request: UpstreamRequest, backend: ErrorReader) -> None:
        super().__init__(call, request, backend)
        self._tools = MessageTools(AskedTools(call), self._sent, self._note) if call.has_tools else None
        self._done = False

    def feed_events(self, events: bytes) -> bytes:
        """Count, and look closer at all but what a content block adds."""
        if self._is_plain(events):
            self.events += 1
            return events
        return b"".join([self._take(event) for event in sse.split(events)])

    def _is_plain(self, event: bytes) -> bool:
        """Whether this is one event that only adds text, or arguments, to the block at hand."""
        return (
            event.startswith(_DELTA)
            and event.count(b"\n") == 3  # noqa: PLR2004 - its name, its data, and the empty line
            and self.error is None
            and (self._tools is None or not (self._tools.busy or b"<|" in event or b'<"' in event))
        )

    def _take(self, event: bytes) -> bytes:
        if self.error is not None:
            return b""
        if self._is_plain(event):
            self.events += 1
            return event
        failure = error_payload(event)
        if failure is not None:
            return self._fail(error_from(self._backend, failure))
        payload = sse.data(event)
        if payload is None or payload == b"[DONE]":  # no part of this API, but harmless
            return event
        try:
            return self._look(event, payload)
        except msgspec.DecodeError:
            return self._fail(UpstreamBroken("an event that is not JSON"))

    def _look(self, event: bytes, payload: bytes) -> bytes:
        """Decode one event; return what the client shall see of it."""
        found = _READ(payload)
        if found.type == "error" or found.error is not None:
            return self._fail(error_from(self._backend, payload))
        match found.type:
            case "message_start":
                shown = renamed(bytes(found.message), self._served)
                self._note_usage(_READ(found.message).usage)
                if shown != bytes(found.message):
                    event = with_payload(event, encode({**cut(payload), "message": Raw(shown)}))
            case "message_delta":
                self._note_usage(found.usage)
                if is_said(found.delta):
                    delta = self._mended(bytes(found.delta), _READ_ENDING(found.delta))
                    if delta is not None:
                        payload = encode({**cut(payload), "delta": Raw(delta)})
                        event = with_payload(event, payload)
            case "message_stop":
                if self.finish_reason is None:
                    return self._fail(UpstreamBroken("the message stopped for no reason, as one that was aborted does"))
                self._done = True
        self.events += 1
        return event if self._tools is None else self._tools.edit_event(event, payload)

    def _note_usage(self, usage: Raw) -> None:
        if is_said(usage):
            self.usage = latest(self.usage, read_messages(usage))

    def _mended(self, ending: bytes, found: _Ending | _Message) -> bytes | None:
        """Note why a message ended; return its end again where it names a stop sequence and says that the turn was over."""
        if isinstance(found.stop_reason, str):
            self.finish_reason = found.stop_reason
        if found.stop_reason != "end_turn" or not found.stop_sequence:
            return None
        self.finish_reason = "stop_sequence"
        self._note(FINISH_REASON)
        return encode({**cut(ending), "stop_reason": self.finish_reason})

    def _fail(self, error: UpstreamError) -> bytes:
        self.error = error
        return b"" if self._tools is None else self._tools.release()

    def end_events(self) -> UpstreamError | None:
        """A stream without `message_stop` was cut short."""
        return None if self._done else UpstreamBroken("the stream ended without message_stop")

    def read_body(self, body: bytes) -> bytes:
        """Find usage and end of a whole answer; its bytes stay as they are where nothing has to be mended."""
        try:
            found = _READ(body)
            if found.type == "error" or found.error is not None:
                self.error = error_from(self._backend, body)
                return body
            self._note_usage(found.usage)
            mended = self._mended(body, found)
            if self.finish_reason is None:
                self.error = UpstreamBroken("the message stopped for no reason, as one that was aborted does")
                return body
            shown = renamed(mended or body, self._served)
            return shown if self._tools is None else self._tools.edit_answer(shown)
        except msgspec.DecodeError:
            self.error = UpstreamBroken("an answer that is not JSON")
            return body
