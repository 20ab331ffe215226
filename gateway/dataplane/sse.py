"""Cuts server-sent events out of a byte stream without copying where it need not; decodes nothing inside them.

Events end with an empty line; line ends are LF, CRLF or CR (WHATWG HTML, section 9.2.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

DONE = b"data: [DONE]\n\n"
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_END = re.compile(b"|".join(_ENDS))


class EventTooLong(ValueError):
    """One event is longer than the limit."""


class EventCutter:
    """Collects bytes until events are whole.

    Args:
        limit_bytes: the longest event that is kept waiting for its end.
    """

    __slots__ = ("_limit", "_pending")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._pending = b""

    @property
    def pending(self) -> bytes:
        """What is left of an event whose end has not come."""
        return self._pending

    def cut(self, chunk: bytes) -> bytes:
        """Take what came from the network; return all events that are whole now, possibly none.

        Raises:
            EventTooLong: an event exceeds the limit.
        """
        if not self._pending and chunk.endswith(b"\n\n"):  # nearly every packet of every engine
            return chunk
        searched = max(0, len(self._pending) - 3)  # no end is in what is pending, but one may have begun there
        whole = self._pending + chunk
        end = max(at + len(mark) if (at := whole.rfind(mark, searched)) >= 0 else 0 for mark in _ENDS)
        self._pending = whole[end:]
        if len(self._pending) > self._limit:
            raise EventTooLong
        return whole[:end]


def split(events: bytes) -> Iterator[bytes]:
    """Split whole events into single ones, each with its end."""
    start = 0
    # Each way passes over the bytes once, however many events one read brought; the first is the fast one.
    if b"\r" not in events:
        while (at := events.find(b"\n\n", start)) >= 0:
            yield events[start : at + 2]
            start = at + 2
    else:
        for end in _END.finditer(events):
            yield events[start : end.end()]
            start = end.end()
    if start < len(events):
        yield events[start:]


def data(event: bytes) -> bytes | None:
    """The payload of an event: its data lines joined by LF; None if it has none (a comment, or a bare event name)."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def event(payload: bytes) -> bytes:
    """One data event with a payload that holds no line end."""
    return b"data: " + payload + b"\n\n"
