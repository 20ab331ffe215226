"""Chat completions, as each dialect's data says."""

from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from tests.support.scripted_engine.asked import Asked, Json
from tests.support.scripted_engine.dialects.shape import OpenAIShape, logprob
from tests.support.scripted_engine.turns import ToolCall, Turn
from tests.support.scripted_engine.wire import sse


@dataclass(frozen=True, kw_only=True)
class ChatShape(OpenAIShape):
    """How chat is answered.

    Attributes:
        role: the delta of the chunk that opens a choice; None where there is no such chunk.
        role_extra: further keys at the top of that chunk, and `role_choice` of its choice.
        delta: keys of every other delta, unless the delta sets them itself.
        message: keys of a message in a plain answer, after its content.
        reasoning_key: where reasoning stands; always there in a message where `reasoning_always`.
        no_calls: what a message says of tool calls where there are none.
        call_delta: keys of every later piece of a call, and `function_delta` of its function.
        call_delta_keys: what stands in place of `delta` in chunks with calls, and `call_extra` at their top.
        whole_call: keys of a call in a plain answer.
        logprob_ids: tokens with log-probabilities have their ids.
        omits_nulls: chunks leave out what is null.
    """

    chunk_kind: ClassVar[str] = "chat.completion.chunk"
    role: Json | None = field(default_factory=lambda: {"role": "assistant", "content": ""})
    role_extra: Json = field(default_factory=dict)
    role_choice: Json = field(default_factory=dict)
    delta: Json = field(default_factory=dict)
    call_delta: Json = field(default_factory=dict)
    call_delta_keys: Json | None = None
    call_extra: Json = field(default_factory=dict)
    function_delta: Json = field(default_factory=dict)
    whole_call: Json = field(default_factory=dict)
    omits_nulls: bool = False
    message: Json = field(default_factory=dict)
    reasoning_key: str = "reasoning_content"
    reasoning_always: bool = True
    no_calls: Json = field(default_factory=dict)
    content_of_calls: str | None = None
    logprobs_always: bool = True
    logprob_ids: bool = False

    @property
    def opening(self) -> int:
        """One chunk with the role."""
        return 0 if self.role is None else 1

    # -- streams --------------------------------------------------------------------------------------------------

    def _chunk(
        self,
        index: int,
        delta: Json | None,
        finish: str | None = None,
        logprobs: Json | None = None,
        *,
        ended: Json | None = None,
        counted: bool = False,
    ) -> bytes:
        """One chunk; without a delta the one with the role. `counted`: a chunk with the usage follows."""
        calls = delta is not None and "tool_calls" in delta
        keys = self.call_delta_keys if calls and self.call_delta_keys is not None else self.delta
        choice: Json = {"index": index, "delta": (self.role or {}) if delta is None else {**keys, **delta}}
        if self.logprobs_always or logprobs is not None:
            choice["logprobs"] = logprobs
        choice |= {"finish_reason": finish, **(self.streamed_choice if delta is not None else self.role_choice)}
        extra = {**self.streamed, **(self.role_extra if delta is None else self.call_extra if calls else {})}
        if finish is not None:
            choice |= ended or {}
            extra |= {} if counted else self.last
        if counted and self.null_usage:
            extra["usage"] = None
        chunk = {**self.envelope(self.chunk_kind, [choice]), **extra}
        if self.omits_nulls:
            chunk["choices"] = [{name: value for name, value in choice.items() if value is not None}]
        return sse(chunk)

    def events(self, turn: Turn, asked: Asked) -> list[bytes]:
        """Every event of the stream."""
        opening = [] if self.role is None else [self._chunk(index, None) for index in range(asked.count)]
        choices = [event for index in range(asked.count) for event in self._choice(index, turn, asked)]
        return [*opening, *choices, *self.tail(turn, asked)]

    def _choice(self, index: int, turn: Turn, asked: Asked) -> list[bytes]:
        deltas: list[tuple[Json, Json | None]] = [({self.reasoning_key: piece}, None) for piece in turn.reasoning]
        for piece in turn.content:
            scored = None if asked.top_logprobs is None else {"content": [self._logprob(piece, asked.top_logprobs)]}
            deltas.append(({"content": piece}, scored))
        deltas += [(delta, None) for call in turn.calls for delta in self._call_deltas(call)]
        if turn.null_content:
            deltas.append(({"content": None, "tool_calls": []}, None))
        if self.finish_apart or not deltas:
            deltas.append(({}, None))
        last = len(deltas) - 1
        return [
            self._chunk(
                index,
                delta,
                turn.finish if at == last else None,
                scored,
                ended=self.stopped(turn),
                counted=asked.wants_usage,
            )
            for at, (delta, scored) in enumerate(deltas)
        ]

    def _logprob(self, piece: str, top: int) -> Json:
        found = logprob(piece, top)
        if not self.logprob_ids:
            return found
        return {"id": 1, **found, "top_logprobs": [{"id": 1, **each} for each in found["top_logprobs"]]}

    def _call_deltas(self, call: ToolCall) -> list[Json]:
        named = {"name": call.name, "arguments": ""}
        opening: Json = {"id": call.id, "type": "function", "index": call.index, "function": named}
        pieces = [
            {**self.call_delta, "index": call.index, "function": {**self.function_delta, "arguments": part}}
            for part in call.pieces()
        ]
        return [{"tool_calls": [piece]} for piece in (opening, *pieces)]

    # -- plain answers --------------------------------------------------------------------------------------------

    def whole(self, turn: Turn, asked: Asked) -> bytes:
        """The body."""
        choices = [self._whole_choice(index, turn, asked) for index in range(asked.count)]
        envelope = self.envelope("chat.completion", choices)
        extra = {**self.whole_extra, **(self.counted_extra(turn) if self.counted_extra is not None else {})}
        return msgspec.json.encode({**envelope, "usage": self.usage(turn, asked.count), **extra})

    def _whole_choice(self, index: int, turn: Turn, asked: Asked) -> Json:
        content = None if turn.null_content else turn.text or (self.content_of_calls if turn.calls else "")
        message: Json = {"role": "assistant", "content": content, **self.message}
        if turn.reasoning or self.reasoning_always:
            message[self.reasoning_key] = turn.thought or None
        calls = [
            {"id": call.id, **self.whole_call, "type": "function", "function": function(call)} for call in turn.calls
        ]
        message |= {"tool_calls": calls} if calls or turn.null_content else self.no_calls
        choice: Json = {"index": index, "message": message}
        if asked.top_logprobs is not None:
            choice["logprobs"] = {"content": [self._logprob(piece, asked.top_logprobs) for piece in turn.content]}
        elif self.logprobs_always:
            choice["logprobs"] = None
        return {**choice, "finish_reason": turn.finish, **self.choice, **self.stopped(turn, streamed=False)}


def function(call: ToolCall) -> Json:
    """The function of a whole call."""
    return {"name": call.name, "arguments": call.arguments}
