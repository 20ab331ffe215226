"""Messages as engines stream them, and as clients put them together."""

from __future__ import annotations

import re
from typing import Any

from backends.answers.tool_leaks import ARGUMENT_BEGIN, CALL_BEGIN, CALL_END, SECTION_BEGIN, SECTION_END
from backends.sent import Sent
from gateway import Meter, Operation
from gateway.dataplane import sse
from tests.unit.backends.answers.asking import Writer, meter, payloads

TOOLS = [{"name": "get_weather", "input_schema": {"type": "object"}}, {"name": "search", "input_schema": {}}]
PARIS = '{"city":"Paris"}'
LEAK = f"{SECTION_BEGIN}{CALL_BEGIN}functions.get_weather:0{ARGUMENT_BEGIN}{PARIS}{CALL_END}{SECTION_END}"
LATER = Sent(engine_model="engine", next_call_index=4)
# What Anthropic's API checks ids against.
ANTHROPIC_ID = re.compile(r"^[a-zA-Z0-9_-]+$")


class Message:
    """Writes a message's events."""

    def __init__(self, style: str = "tight", end: str = "lf", model: str = "kimi-k2") -> None:
        self._writer, self._model = Writer(style, end), model

    def event(self, kind: str, **fields: Any) -> bytes:
        return self._writer.event({"type": kind, **fields}, name=kind)

    def start(self, **usage: int) -> bytes:
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": self._model}
        return self.event("message_start", message={**message, "stop_reason": None, "usage": usage})

    def open(self, index: int = 0, **block: Any) -> bytes:
        return self.event("content_block_start", index=index, content_block=block or {"type": "text", "text": ""})

    def add(self, text: str, index: int = 0) -> bytes:
        return self.event("content_block_delta", index=index, delta={"type": "text_delta", "text": text})

    def add_json(self, text: str, index: int = 0) -> bytes:
        return self.event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": text})

    def close(self, index: int = 0) -> bytes:
        return self.event("content_block_stop", index=index)

    def end(self, reason: str | None = "end_turn", **usage: int) -> bytes:
        return self.event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)

    @property
    def stop(self) -> bytes:
        return self.event("message_stop")


M = Message()


def reading(*, tools: bool = False, stream: bool = True, sent: Sent | None = LATER) -> Meter:
    fields = {"tools": TOOLS} if tools else None
    return meter(Operation.MESSAGES, stream=stream, fields=fields, sent=sent)


def put_together(events: bytes) -> dict[str, Any]:
    """The message that a client makes of its events; a block may only be added to between its start and its stop."""
    whole: dict[str, Any] = {"content": {}}
    is_open: set[int] = set()
    for event, payload in zip(sse.split(events), payloads(events), strict=True):
        assert event.startswith(f"event: {payload['type']}".encode())
        match payload:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert index == len(whole["content"])
                whole["content"][index] = {**block, "json": ""}
                is_open.add(index)
            case {"type": "content_block_delta", "index": index, "delta": {"text": text}}:
                assert index in is_open
                whole["content"][index]["text"] += text
            case {"type": "content_block_delta", "index": index, "delta": {"partial_json": text}}:
                assert index in is_open
                whole["content"][index]["json"] += text
            case {"type": "content_block_stop", "index": index}:
                is_open.remove(index)
            case {"type": "message_delta", "delta": delta}:
                whole |= delta
    assert not is_open
    whole["content"] = [
        block["text"] if block["type"] == "text" else (block["id"], block["name"], block["json"])
        for block in whole["content"].values()
    ]
    return whole
