"""Numbers the events of a response whose engine does not, and says to which output each belongs: clients rely on both."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from backends.answers.events import with_payload
from gateway.dataplane import sse

EVENT_PLACES: Final = "event_places"

# Events about one of an item's parts: engines that give no places write one part an item.
_OF_A_PART = ("response.output_text.", "response.content_part.", "response.reasoning_text.", "response.refusal.")


class _Item(Struct, frozen=True):
    id: str | None = None


class _Event(Struct, frozen=True):
    type: str
    item_id: str | None = None
    item: _Item | None = None
    sequence_number: Any = None
    output_index: Any = None
    content_index: Any = None


_READ = msgspec.json.Decoder(_Event).decode


class EventPlaces:
    """The count of one stream. llama.cpp 11434 is an engine that needs it (`tools/server/server-task.cpp`)."""

    __slots__ = ("_indexes", "_next")

    def __init__(self) -> None:
        self._next = 0
        self._indexes: dict[str, int] = {}

    def place(self, event: bytes) -> bytes:
        """An event with what it lacks; the same where it is none of this API's."""
        payload = sse.data(event)
        if payload is None:
            return event
        try:
            found = _READ(payload)
        except msgspec.DecodeError:
            return event
        lacking = [] if found.sequence_number is not None else [b'"sequence_number":%d' % self._next]
        self._next += 1
        item = found.item_id if found.item is None else found.item.id
        if item is not None and found.output_index is None:
            lacking.append(b'"output_index":%d' % self._indexes.setdefault(item, len(self._indexes)))
            if found.content_index is None and found.type.startswith(_OF_A_PART):
                lacking.append(b'"content_index":0')
        if not lacking:
            return event
        return with_payload(event, b"{" + b",".join(lacking) + b"," + payload.lstrip()[1:])
