"""Tool calls in answers of the Messages API: ids that Anthropic's clients take, and calls that an engine left in its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from backends.answers.drafts import Cut, cut, cut_list, encode
from backends.answers.events import with_payload
from backends.answers.tool_leaks import LeakedCall, LeakScanner, Piece
from backends.answers.tools import TOOL_IDS, TOOL_LEAK, TOOL_REPAIR, AskedTools, CallIds, anthropic_id, anthropic_safe
from backends.sent import Sent

_END_TURN = Raw(b'"end_turn"')
_TOOL_USE = "tool_use"


class _Block(Struct, frozen=True):
    type: Any = None
    id: Any = None
    name: Any = None
    text: Any = None
    input: Raw = Raw()


class _Event(Struct, frozen=True):
    type: Any = None
    index: int = 0
    content_block: _Block | None = None
    delta: _Block | None = None


_READ = msgspec.json.Decoder(_Event).decode
_READ_BLOCK = msgspec.json.Decoder(_Block).decode


class _Text:
    """A block of text under way. `place` is its index for the client; None while the client has no such block open."""

    __slots__ = ("place", "scanner")

    def __init__(self, place: int, accepts: Callable[[str], bool]) -> None:
        self.place: int | None = place
        self.scanner = LeakScanner(accepts)


class MessageTools:
    """Edits one answer to a call that has tools.

    A call found in text becomes a block of its own: the text's block is closed before it, and opened anew, under a
    further index, for text that follows.

    Attributes:
        busy: the next events concern us, whatever they hold: text is held back, or blocks have changed places.
    """

    __slots__ = ("_asked", "_ids", "_next", "_note", "_places", "_repaired", "_sent", "_texts", "busy")

    def __init__(self, asked: AskedTools, sent: Sent | None, note: Callable[[str], None]) -> None:
        self._asked, self._sent, self._note = asked, sent, note
        self._ids = CallIds(sent, anthropic_id)
        self._places: dict[int, int] = {}
        self._texts: dict[int, _Text] = {}
        self._next = 0
        self._repaired = False
        self.busy = False

    def edit_event(self, event: bytes, payload: bytes) -> bytes:
        """Edit one event; return what the client shall see."""
        found = _READ(payload)
        match found.type:
            case "content_block_start":
                shown = self._started(event, payload, found)
            case "content_block_delta" if found.index in self._texts:
                shown = self._added(event, found, self._texts[found.index])
            case "content_block_stop" if found.index in self._texts:
                shown = self._stopped(event, found, self._texts.pop(found.index))
            case "content_block_delta" | "content_block_stop":
                shown = self._placed(event, payload, found.index)
            case "message_delta" if self._repaired:
                shown = _with_tool_use(event, payload)
            case _:
                shown = event
        self.busy = self._repaired or any(text.scanner.busy for text in self._texts.values())
        return shown

    def release(self) -> bytes:
        """Text that is held back, as events: the answer ends without having finished."""
        return b"".join(self._emit(text, text.scanner.end(whole=False)) for text in self._texts.values())

    def edit_answer(self, body: bytes) -> bytes:
        """Edit a whole answer; the same object where nothing changes."""
        fields = cut(body)
        if "content" not in fields:
            return body
        blocks: list[Cut] = []
        changed = False
        ended = bytes(fields.get("stop_reason", b"")) == bytes(_END_TURN)
        for block in cut_list(fields["content"]):
            read = _READ_BLOCK(encode(block))
            if read.type == _TOOL_USE:
                changed |= self._identify(block, read)
            mended = self._mended_text(read, whole=ended) if read.type == "text" else None
            blocks += [block] if mended is None else mended
            changed |= mended is not None
        if not changed:
            return body
        fields["content"] = blocks
        if self._repaired and ended:
            fields["stop_reason"] = _TOOL_USE
        return encode(fields)

    def _mended_text(self, read: _Block, *, whole: bool) -> list[Cut] | None:
        """The blocks that a text with calls in it becomes; None if it has none."""
        if not isinstance(read.text, str):
            return None
        scanner = LeakScanner(self._asked.accepts)
        pieces = scanner.feed(read.text) + scanner.end(whole=whole)
        self._note_leak(scanner)
        if not any(isinstance(piece, LeakedCall) for piece in pieces):
            return None
        return [
            self._call_block(piece) | {"input": Raw(piece.arguments.encode())}
            if isinstance(piece, LeakedCall)
            else {"type": "text", "text": piece}
            for piece in pieces
            if isinstance(piece, LeakedCall) or piece.strip()
        ]

    def _started(self, event: bytes, payload: bytes, found: _Event) -> bytes:
        place = self._places[found.index] = self._next
        self._next += 1
        block = found.content_block
        if block is not None and block.type == "text":
            self._texts[found.index] = _Text(place, self._asked.accepts)
        changed = place != found.index
        fields = cut(payload)
        if block is not None and block.type == _TOOL_USE:
            inner = fields["content_block"] = cut(fields["content_block"])
            changed |= self._identify(inner, block)
        if not changed:
            return event
        fields["index"] = place
        return with_payload(event, encode(fields))

    def _added(self, event: bytes, found: _Event, text: _Text) -> bytes:
        said = found.delta
        if said is None or said.type != "text_delta" or not isinstance(said.text, str):
            return event
        pieces = text.scanner.feed(said.text)
        self._note_leak(text.scanner)
        if pieces == [said.text] and text.place == found.index:
            return event
        return self._emit(text, pieces)

    def _stopped(self, event: bytes, found: _Event, text: _Text) -> bytes:
        # Whether the model meant to stop is said only after this, so a call without its end stays text.
        shown = self._emit(text, text.scanner.end(whole=False))
        if text.place is None:
            return shown
        return shown + (event if text.place == found.index else _event("content_block_stop", index=text.place))

    def _placed(self, event: bytes, payload: bytes, index: int) -> bytes:
        place = self._places.get(index, index)
        return event if place == index else with_payload(event, encode({**cut(payload), "index": place}))

    def _emit(self, text: _Text, pieces: list[Piece]) -> bytes:
        """Text and calls as events."""
        shown: list[bytes] = []
        for piece in pieces:
            if isinstance(piece, LeakedCall):
                if text.place is not None:
                    shown.append(_event("content_block_stop", index=text.place))
                    text.place = None
                at, self._next = self._next, self._next + 1
                added = {"type": "input_json_delta", "partial_json": piece.arguments}
                shown += [
                    _event("content_block_start", index=at, content_block=self._call_block(piece) | {"input": {}}),
                    _event("content_block_delta", index=at, delta=added),
                    _event("content_block_stop", index=at),
                ]
                continue
            if text.place is None:
                text.place, self._next = self._next, self._next + 1
                shown.append(
                    _event("content_block_start", index=text.place, content_block={"type": "text", "text": ""})
                )
            added = {"type": "text_delta", "text": piece}
            shown.append(_event("content_block_delta", index=text.place, delta=added))
        return b"".join(shown)

    def _call_block(self, call: LeakedCall) -> Cut:
        self._note(TOOL_REPAIR)
        self._repaired = True
        return {"type": _TOOL_USE, "id": anthropic_safe(self._ids.take(call.name, None)), "name": call.name}

    def _identify(self, block: Cut, read: _Block) -> bool:
        """Give a call of the engine's own its id, and an input where it has none; say whether either changed."""
        native = read.id if isinstance(read.id, str) else None
        name = read.name if isinstance(read.name, str) else ""
        identity = anthropic_safe(self._ids.take(name, native))
        changed = identity != native
        if changed:
            block["id"] = identity
            self._note(TOOL_IDS)
        if "input" not in block:  # llama.cpp: clients add to what is not there
            block["input"] = {}
            changed = True
        return changed

    def _note_leak(self, scanner: LeakScanner) -> None:
        if scanner.seen:
            self._note(TOOL_LEAK)


def _event(name: str, **fields: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + encode({"type": name, **fields}) + b"\n\n"


def _with_tool_use(event: bytes, payload: bytes) -> bytes:
    """An end of turn that in truth waits for tools."""
    fields = cut(payload)
    delta = cut(fields.get("delta", b"null"))
    if bytes(delta.get("stop_reason", b"")) != bytes(_END_TURN):
        return event
    delta["stop_reason"] = _TOOL_USE
    fields["delta"] = delta
    return with_payload(event, encode(fields))
