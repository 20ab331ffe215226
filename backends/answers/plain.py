"""Reads answers that are one small object: counted tokens and tokenized text."""

from __future__ import annotations

import msgspec

from backends.answers.events import error_from
from backends.answers.meter import AnswerMeter
from backends.answers.names import renamed
from backends.answers.usage import read_count
from backends.answers.wire import holds_error
from gateway.errors import UpstreamBroken, UpstreamError


class PlainMeter(AnswerMeter):
    """Reads counts; nothing was generated, so nothing is said of an answer's tokens."""

    __slots__ = ()

    def feed_events(self, events: bytes) -> bytes:
        """Such answers are not streamed; an engine that does so all the same is not understood."""
        self.error = UpstreamBroken("a stream where one object was asked for")
        return events

    def end_events(self) -> UpstreamError | None:
        """There was no stream to end."""
        return self.error

    def read_body(self, body: bytes) -> bytes:
        """Find the count, and put the served name in."""
        try:
            if holds_error(body):
                self.error = error_from(self._backend, body)
                return body
            shown = renamed(body, self._served)
        except msgspec.DecodeError:
            self.error = UpstreamBroken("an answer that is not JSON")
            return body
        self.usage = read_count(body)
        return shown
