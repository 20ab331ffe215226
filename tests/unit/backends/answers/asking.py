"""Short ways to ask for a meter, and to write events as engines do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backends.answers import meter_for
from backends.openai_compatible import OpenAICompatible
from backends.sent import Sent
from gateway import Meter, Model, Operation, UpstreamRequest
from gateway.dataplane import sse
from tests.unit.builders import CHECKPOINT, make_call

DONE = b"data: [DONE]\n\n"
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
SEARCH = {"type": "function", "function": {"name": "search"}}

# vLLM writes no blanks, others do, and some end their lines in CRLF.
SEPARATORS = {"tight": (",", ":"), "spaced": (", ", ": ")}
ENDS = {"lf": "\n", "crlf": "\r\n"}


def meter(
    operation: Operation = Operation.CHAT,
    *,
    stream: bool = True,
    fields: Mapping[str, Any] | None = None,
    reasoning_key: str | None = None,
    reasoning_fields: tuple[str, ...] = ("reasoning_content",),
    sent: Sent | None = None,
    noted: tuple[str, ...] = (),
    **call: Any,
) -> Meter:
    """A meter for an answer to a call with these fields; the model is served as `kimi-k2`."""
    request = UpstreamRequest("/", (), b"{}", transforms=noted, notes=sent)
    made = make_call(
        operation=operation,
        stream=stream,
        model=Model("kimi-k2", (), CHECKPOINT, reasoning_fields=reasoning_fields),
        body=json.dumps({"model": "kimi-k2", **(fields or {})}).encode(),
        has_tools="tools" in (fields or {}),
        **call,
    )
    return meter_for(made, request, backend=OpenAICompatible(), reasoning_key=reasoning_key)


def with_tools(*tools: Mapping[str, Any], sent: Sent | None = None, **more: Any) -> Meter:
    """A meter for a call that declares tools, after a conversation without any."""
    choice = {"tool_choice": more.pop("tool_choice")} if "tool_choice" in more else {}
    fields = {"tools": list(tools or (WEATHER, SEARCH)), **choice}
    return meter(fields=fields, sent=sent or Sent(engine_model="kimi-k2"), **more)


class Writer:
    """Writes events as one kind of engine does."""

    def __init__(self, style: str = "tight", end: str = "lf", model: str = "kimi-k2") -> None:
        self._separators, self._end, self._model = SEPARATORS[style], ENDS[end], model

    def event(self, payload: Any, name: str | None = None) -> bytes:
        named = f"event: {name}{self._end}" if name is not None else ""
        data = json.dumps(payload, separators=self._separators, ensure_ascii=False)
        return f"{named}data: {data}{self._end}{self._end}".encode()

    def choice(self, choice: Mapping[str, Any], **more: Any) -> bytes:
        head = {"id": "x", "object": "chat.completion.chunk", "created": 7, "model": self._model}
        return self.event({**head, "choices": [{"index": 0, **choice}], **more})

    def delta(self, finish: str | None = None, **delta: Any) -> bytes:
        return self.choice({"delta": delta, "logprobs": None, "finish_reason": finish})

    def chunk(self, text: str = "a", finish: str | None = None, **more: Any) -> bytes:
        return self.choice({"delta": {"content": text}, "finish_reason": finish}, **more)

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        return self.event({"id": "x", "model": self._model, "choices": [], "usage": usage})

    @property
    def done(self) -> bytes:
        return f"data: [DONE]{self._end}{self._end}".encode()


TIGHT = Writer()


def payloads(events: bytes) -> list[Any]:
    """What the events hold, decoded; `[DONE]` as it is. Comments and bare names are left out."""
    found = (sse.data(event) for event in sse.split(events))
    return [
        payload.decode() if payload == b"[DONE]" else json.loads(payload) for payload in found if payload is not None
    ]


def feed(reading: Meter, events: Iterable[bytes]) -> list[Any]:
    """Feed one event at a time; return what the client sees, decoded."""
    return payloads(b"".join([reading.feed_events(event) for event in events]))


def said(seen: Sequence[Any], index: int = 0) -> tuple[str, list[dict[str, Any]], str | None]:
    """What a client makes of the chunks of one choice: its text, its tool calls put together, and why it ended."""
    text, finish = "", None
    calls: list[dict[str, Any]] = []
    for chunk in seen:
        for choice in [] if chunk == "[DONE]" else chunk["choices"]:
            if choice["index"] != index:
                continue
            assert finish is None, "something came after the end"
            finish = choice.get("finish_reason")
            delta = choice["delta"]
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                add_call(calls, call)
    return text, calls, finish


def add_call(calls: list[dict[str, Any]], call: Mapping[str, Any]) -> None:
    """Add a piece of a call, as OpenAI's SDK does: by its index, with names and ids given once."""
    function = call.get("function") or {}
    if call["index"] == len(calls):
        calls.append({"id": call["id"], "name": function["name"], "arguments": ""})
    calls[call["index"]]["arguments"] += function.get("arguments") or ""
