"""OpenAI's responses, as each dialect's data says."""

from dataclasses import dataclass, field

import msgspec

from tests.support.scripted_engine.asked import Asked, Json
from tests.support.scripted_engine.turns import ToolCall, Turn
from tests.support.scripted_engine.wire import CREATED, named_sse

_ECHOED = {"temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [], "parallel_tool_calls": True}


@dataclass(frozen=True, kw_only=True)
class ResponsesShape:
    """How responses are answered.

    Attributes:
        extra: keys of the response object that this engine adds.
        usage_extra: keys of the details of the prompt's tokens beside the cached ones.
        message_extra: keys of a message.
        says_incomplete: an answer that the limit cut has that status; otherwise it is completed like any other.
    """

    model: str
    id: str = "resp_8d2f6c1e4b7a49f0a3c5e7d9b1f2a4c6"
    extra: Json = field(default_factory=dict)
    usage_extra: Json = field(default_factory=dict)
    message_extra: Json = field(default_factory=dict)
    says_incomplete: bool = True
    opening: int = 4

    def whole(self, turn: Turn, asked: Asked) -> bytes:
        """The body."""
        return msgspec.json.encode(self._response(turn, asked, self._items(turn)))

    def _response(self, turn: Turn, asked: Asked, output: list[Json] | None, error: str | None = None) -> Json:
        """The response object; without output it is the one that a stream begins with."""
        short = turn.finish == "length" and self.says_incomplete and output is not None
        status = "in_progress" if output is None else "incomplete" if short else "completed"
        usage = {
            "input_tokens": turn.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, **self.usage_extra},
            "output_tokens": turn.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": len(turn.reasoning)},
            "total_tokens": turn.prompt_tokens + turn.completion_tokens,
        }
        return {
            "id": self.id,
            "object": "response",
            "created_at": CREATED,
            "model": self.model,
            "output": output or [],
            "status": status if error is None else "failed",
            "usage": None if output is None else usage,
            **{name: asked.body.get(name, value) for name, value in _ECHOED.items()},
            "incomplete_details": {"reason": "max_output_tokens"} if short else None,
            "instructions": asked.body.get("instructions"),
            "max_output_tokens": asked.limit,
            "metadata": {},
            **self.extra,
            **({} if error is None else {"error": {"code": "server_error", "message": error}}),
        }

    def unsaid(self, turn: Turn, asked: Asked, error: str | None) -> list[bytes]:
        """Every event of a stream that ends before it says anything: with an error, or as if that were the answer."""
        beginning, end = self._response(turn, asked, None), self._response(turn, asked, [], error)
        kinds = {"response.created": beginning, "response.in_progress": beginning, f"response.{end['status']}": end}
        events = [{"type": kind, "response": response} for kind, response in kinds.items()]
        return [named_sse({**event, "sequence_number": number}) for number, event in enumerate(events)]

    def _items(self, turn: Turn) -> list[Json]:
        items: list[Json] = []
        if turn.reasoning:
            thought = {"type": "reasoning_text", "text": turn.thought}
            items.append(
                {"id": "rs_1", "type": "reasoning", "summary": [], "content": [thought], "status": "completed"}
            )
        if turn.content or not turn.calls:
            text = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": None}
            items.append(self._message("completed", [text]))
        return [*items, *(self._call(call, "completed") for call in turn.calls)]

    def _message(self, status: str, content: list[Json]) -> Json:
        message: Json = {"id": "msg_1", "type": "message", "role": "assistant", "content": content, "status": status}
        return {**message, **self.message_extra}

    def _call(self, call: ToolCall, status: str) -> Json:
        arguments = call.arguments if status == "completed" else ""
        item: Json = {"id": f"fc_{call.index + 1}", "type": "function_call", "call_id": f"call_{call.index + 1}"}
        return {**item, "name": call.name, "arguments": arguments, "status": status}

    # -- streams --------------------------------------------------------------------------------------------------

    def events(self, turn: Turn, asked: Asked) -> list[bytes]:
        """Every event of the stream."""
        beginning = self._response(turn, asked, None)
        events: list[Json] = [
            {"type": "response.created", "response": beginning},
            {"type": "response.in_progress", "response": beginning},
        ]
        items = self._items(turn)
        for index, item in enumerate(items):
            events += self._item_events(item, turn, {"output_index": index, "item_id": item["id"]})
        final = self._response(turn, asked, items)
        if turn.finish is not None:
            events.append({"type": f"response.{final['status']}", "response": final})
        return [named_sse({**event, "sequence_number": number}) for number, event in enumerate(events)]

    def _item_events(self, item: Json, turn: Turn, at: Json) -> list[Json]:
        place = {"output_index": at["output_index"]}
        if item["type"] == "function_call":
            call = next(call for call in turn.calls if item["id"] == f"fc_{call.index + 1}")
            middle: list[Json] = [
                {"type": "response.function_call_arguments.delta", **at, "delta": part} for part in call.pieces()
            ]
            arguments = {"arguments": call.arguments, "name": call.name}
            middle.append({"type": "response.function_call_arguments.done", **at, **arguments})
            begun = self._call(call, "in_progress")
        else:
            thinking = item["type"] == "reasoning"
            kind = "reasoning_text" if thinking else "output_text"
            pieces, begun = (turn.reasoning if thinking else turn.content), {**item, "content": []}
            begun["status"] = "in_progress"
            where = {**at, "content_index": 0}
            rest: Json = {} if thinking else {"logprobs": []}
            part = {"type": kind, "text": "", **({} if thinking else {"annotations": [], "logprobs": []})}
            text = "".join(pieces)
            middle = [{"type": "response.content_part.added", **where, "part": part}]
            middle += [{"type": f"response.{kind}.delta", **where, "delta": piece, **rest} for piece in pieces]
            middle.append({"type": f"response.{kind}.done", **where, "text": text, **rest})
            middle.append({"type": "response.content_part.done", **where, "part": {**part, "text": text}})
        return [
            {"type": "response.output_item.added", **place, "item": begun},
            *middle,
            {"type": "response.output_item.done", **place, "item": item},
        ]
