"""Meters answers of chat and completions in OpenAI's shape; decodes only events that may tell something or need an edit."""

from __future__ import annotations

import msgspec

from backends.answers import frames
from backends.answers.chat_edits import ChatEdits
from backends.answers.drafts import Draft, encode
from backends.answers.events import ErrorReader, error_from, error_payload, with_payload
from backends.answers.meter import AnswerMeter
from backends.answers.names import ModelName
from backends.answers.usage import is_said, latest, read_openai
from backends.answers.wire import Answer, finish_word
from gateway import Call, UpstreamRequest
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError

_ENDED_BADLY = frozenset({"abort", "error"})
_LESSONS = 8  # frames that may be learnt in vain, before a stream is taken to have none
_SHORT = len(b"data: [DONE]\r\n\r\n")  # no chunk is that short
_WORTH = 4  # events that make a lesson worth its while


class ChatMeter(AnswerMeter):
    """Reads one answer, streamed or whole."""

    __slots__ = (
        "_done",
        "_edits",
        "_frame",
        "_learnt_at",
        "_lessons",
        "_name",
        "_tools",
        "_usage_event",
        "_usage_in_place",
    )

    def __init__(self, call: Call, request: UpstreamRequest, backend: ErrorReader, reasoning_key: str | None) -> None:
        super().__init__(call, request, backend)
        self._name = ModelName(self._served)
        self._edits = ChatEdits(call, self._sent, reasoning_key, self._note)
        self._tools = self._edits.tools
        self._done = False
        self._usage_in_place = False
        self._usage_event = b""  # the last chunk that held usage anywhere else
        self._frame = frames.NOTHING_LEARNT
        self._lessons = _LESSONS
        self._learnt_at = 0

    def feed_events(self, events: bytes) -> bytes:
        """Count, and look closer only at events that are more than text between known ends."""
        frame = self._frame
        if events.startswith(frame.head) and events.endswith(frame.tail):
            start, end = frame.head_length, len(events) - frame.tail_length
            quote = events.find(b'"', start)
            if (quote == end or (quote < end and frames.is_plain_text(events[start:end]))) and (
                self._tools is None or not self._tools.concern_text(events, start, end)
            ):
                self.events += 1
                return events if frame.shown_head is None else frame.shown_head + events[start:]
        if events.count(b"\n") == 2 and events.startswith(b"data:"):  # noqa: PLR2004 - a line and the empty one
            return self._take(events)
        parts = list(sse.split(events))
        return self._look(events) if len(parts) == 1 else b"".join([self.feed_events(part) for part in parts])

    def _take(self, event: bytes) -> bytes:
        """Take one event of one data line that the frame does not cover."""
        if not self._name.known:
            self._name.learn(event)
        if (
            len(event) <= _SHORT
            or b'"usage":{' in event
            or b'"finish_reason":"' in event
            or b'"finish_reason":{' in event
            or b'"error"' in event
            or b'": ' in event  # an engine that writes JSON with spaces: the marks above would miss it
            or self.error is not None
        ):
            return self._look(event)
        if self._edits.concern(event):
            shown = self._look(event)
            if self._edits.copies:
                return shown
        else:
            self.events += 1
            shown = self._name.in_event(event) if self._name.differs else event
        if self._lessons:
            self._learn(event, shown)
        return shown

    def _learn(self, event: bytes, shown: bytes) -> None:
        """Learn what stands around this event's text, unless streams like this were found to have no frame."""
        if event.startswith(self._frame.head) and event.endswith(self._frame.tail):
            return
        self._lessons = _LESSONS if self.events - self._learnt_at > _WORTH else self._lessons - 1
        self._learnt_at = self.events
        self._frame = frames.learn(event, shown) or self._frame

    def _look(self, event: bytes) -> bytes:
        """Decode one event; return what the client shall see of it."""
        if self.error is not None:
            return b""
        failure = error_payload(event)
        if failure is not None:
            return self._fail(error_from(self._backend, failure))
        payload = sse.data(event)
        if payload is None:
            return event
        if payload == b"[DONE]":
            return self._read_done(event)
        if not self._name.known:
            self._name.learn(event)
        try:
            found = self._edits.read(payload)
        except msgspec.DecodeError:
            return self._fail(UpstreamBroken("an event that is not JSON"))
        return self._read_chunk(event, payload, found)

    def _read_chunk(self, event: bytes, payload: bytes, found: Answer) -> bytes:
        """Note what a chunk tells; return what the client shall see of it."""
        error = error_from(self._backend, payload) if found.is_error else self._note_end(found)
        if error is not None:
            return self._fail(error)
        if self._note_usage(found) and not found.choices:
            if self._edits.hides_usage:
                return b""
            self._usage_in_place = True
        elif is_said(found.usage) or any(is_said(choice.usage) for choice in found.choices or ()):
            self._usage_event = payload
        before: list[bytes] = []
        if self._edits.matter(event, found):
            draft = self._draft(payload)
            before, keep = self._edits.edit_chunk(draft, found)
            if not keep:
                return self._sent_on(before)
            if draft.changed:
                return self._sent_on(before, with_payload(event, draft.encode()))
        return self._sent_on(before, self._name.in_event(event) if self._name.differs else event)

    def _sent_on(self, chunks: list[bytes], *events: bytes) -> bytes:
        self.events += len(chunks) + len(events)
        return b"".join([*[sse.event(chunk) for chunk in chunks], *events])

    def _draft(self, payload: bytes) -> Draft:
        """A chunk to be edited, under the served name."""
        draft = Draft(payload)
        if self._name.differs and "model" in draft.fields:
            draft.fields["model"] = self._served
        return draft

    def _note_end(self, found: Answer) -> UpstreamError | None:
        """Note why a choice ended; return an error if that was no end."""
        for choice in found.choices or ():
            word = finish_word(choice.finish_reason)
            if word is not None:
                self.finish_reason = word
            if word in _ENDED_BADLY:
                reason = choice.finish_reason
                if isinstance(reason, dict) and isinstance(reason.get("status_code"), int):  # SGLang's own form
                    error = {"message": reason.get("message"), "code": reason["status_code"]}
                    return error_from(self._backend, encode({"error": error}))
                return UpstreamBroken(f"the engine ended the answer with {word}")
        return None

    def _note_usage(self, found: Answer) -> bool:
        """Note token counts wherever they are; say whether they are where OpenAI has them."""
        for choice in found.choices or ():
            if is_said(choice.usage):
                self.usage = latest(self.usage, read_openai(choice.usage))
        if not is_said(found.usage):
            return False
        self.usage = latest(self.usage, read_openai(found.usage))
        return True

    def _read_done(self, event: bytes) -> bytes:
        """`[DONE]`: all is said, unless no choice ever ended, as where an engine dropped the request in silence."""
        if self.finish_reason is None:
            return self._fail(UpstreamBroken("the stream ended with [DONE] before its answer had ended"))
        self._done = True
        shown = self._released()
        if self._usage_event and not self._usage_in_place and not self._edits.hides_usage:
            shown += sse.event(self._edits.usage_chunk(self._draft(self._usage_event)))
        return shown + event

    def _fail(self, error: UpstreamError) -> bytes:
        self.error = error
        self._frame = frames.NOTHING_LEARNT  # what follows is to be hidden, however plain it is
        return self._released()

    def _released(self) -> bytes:
        """Text that was held back, as events."""
        return b"" if self._tools is None else b"".join([sse.event(chunk) for chunk in self._tools.release()])

    def end_events(self) -> UpstreamError | None:
        """A stream without `[DONE]` was cut short, however politely its connection was closed."""
        return None if self._done else UpstreamBroken("the stream ended without [DONE]")

    def read_body(self, body: bytes) -> bytes:
        """Find the usage of a whole answer; its bytes stay as they are where nothing has to be mended."""
        try:
            found = self._edits.read(body)
            if found.is_error:
                self.error = error_from(self._backend, body)
                return body
            self.error = self._note_end(found)
            self._note_usage(found)
            return self._edits.edit_answer(body, found, self._served)
        except msgspec.DecodeError:
            self.error = UpstreamBroken("an answer that is not JSON")
            return body
