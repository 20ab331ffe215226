"""Anthropic's messages, as each dialect's data says."""

import json
from dataclasses import dataclass, field

import msgspec

from tests.support.scripted_engine.asked import Asked, Json
from tests.support.scripted_engine.turns import ToolCall, Turn
from tests.support.scripted_engine.wire import named_sse

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "abort": "end_turn"}


@dataclass(frozen=True, kw_only=True)
class MessagesShape:
    """How messages are answered.

    Attributes:
        usage: keys of the usage beside the two counts; `start_usage` of the one in the first event.
        input_in_delta: the last usage of a stream tells the count of the prompt, and `input_in_start` the first one.
        start_nulls: the first event says that nothing has ended it yet.
        stop_sequence: the last event but one says which stop string ended it, null included; `plain_stop_sequence` says
            that plain answers do so too.
        names_stops: what a stop string ended says so; otherwise it says that the turn is over, and `tells_stops` which
            string it was all the same.
        empty_input: a block that begins a call has an input, which is empty.
        signature: a thinking block has one, and streams send it.
    """

    model: str
    id: str
    usage: Json = field(default_factory=dict)
    start_usage: Json = field(default_factory=dict)
    input_in_delta: bool = True
    input_in_start: bool = True
    start_nulls: bool = True
    stop_sequence: bool = True
    plain_stop_sequence: bool = False
    names_stops: bool = True
    tells_stops: bool = True
    empty_input: bool = True
    signature: str | None = None
    opening: int = 2

    def events(self, turn: Turn, asked: Asked) -> list[bytes]:
        """Every event of the stream."""
        read = turn.prompt_tokens if self.input_in_start else 0
        start = {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self.model,
            **({"stop_reason": None, "stop_sequence": None} if self.start_nulls else {}),
            "usage": {"input_tokens": read, "output_tokens": 0, **self.start_usage},
        }
        events: list[Json] = [{"type": "message_start", "message": start}]
        for index, (block, deltas) in enumerate(self._blocks(turn)):
            events.append({"type": "content_block_start", "content_block": block, "index": index})
            events += [{"type": "content_block_delta", "delta": delta, "index": index} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": self._reason(turn), **self._stopped(turn)}
        usage = {"output_tokens": turn.completion_tokens, **self.usage}
        if self.input_in_delta:
            usage = {"input_tokens": turn.prompt_tokens, **usage}
        events += [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]
        return [named_sse(event) for event in events]

    def _blocks(self, turn: Turn) -> list[tuple[Json, list[Json]]]:
        blocks: list[tuple[Json, list[Json]]] = []
        if turn.reasoning:
            thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in turn.reasoning]
            if self.signature is not None:
                thoughts.append({"type": "signature_delta", "signature": self.signature})
            blocks.append(({"type": "thinking", "thinking": ""}, thoughts))
        if turn.content or not turn.calls:
            blocks.append(
                ({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in turn.content])
            )
        for call in turn.calls:
            block: Json = {"type": "tool_use", "id": call.id, "name": call.name}
            block |= {"input": {}} if self.empty_input else {}
            parts = [{"type": "input_json_delta", "partial_json": part} for part in call.pieces()]
            blocks.append((block, parts))
        return blocks

    def _stopped(self, turn: Turn) -> Json:
        told = turn.stopped_by is not None and self.tells_stops
        return {"stop_sequence": turn.stopped_by} if self.stop_sequence or told else {}

    def _reason(self, turn: Turn) -> str | None:
        if turn.stopped_by is not None and self.names_stops:
            return "stop_sequence"
        return None if turn.finish is None else _REASONS[turn.finish]

    def whole(self, turn: Turn, asked: Asked) -> bytes:
        """The body."""
        content: list[Json] = []
        if turn.reasoning:
            thinking: Json = {"type": "thinking", "thinking": turn.thought}
            content.append(thinking if self.signature is None else {**thinking, "signature": self.signature})
        if turn.content or not turn.calls:
            content.append({"type": "text", "text": turn.text})
        content += [self._tool_use(call) for call in turn.calls]
        message = {"id": self.id, "type": "message", "role": "assistant", "content": content, "model": self.model}
        message["stop_reason"] = self._reason(turn)
        if self.plain_stop_sequence or (turn.stopped_by is not None and self.tells_stops):
            message["stop_sequence"] = turn.stopped_by
        usage = {"input_tokens": turn.prompt_tokens, "output_tokens": turn.completion_tokens, **self.usage}
        return msgspec.json.encode({**message, "usage": usage})

    def _tool_use(self, call: ToolCall) -> Json:
        try:
            arguments = json.loads(call.arguments)
        except ValueError:
            arguments = {}
        return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}
