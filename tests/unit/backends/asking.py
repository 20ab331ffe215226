"""Calls as the edge would read them from a body, and what a backend makes of them."""

from __future__ import annotations

import json
from typing import Any

from backends.openai_compatible import OpenAICompatible
from gateway import Call, Operation, UpstreamRequest
from gateway.http import requests
from tests.unit.builders import make_call, make_replica

MESSAGES = [{"role": "user", "content": "hi"}]
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}

_NEEDED: dict[Operation, dict[str, Any]] = {
    Operation.CHAT: {"messages": MESSAGES},
    Operation.COMPLETIONS: {"prompt": "hi"},
    Operation.RESPONSES: {"input": "hi"},
    Operation.MESSAGES: {"messages": MESSAGES, "max_tokens": 16},
    Operation.COUNT_TOKENS: {"messages": MESSAGES},
    Operation.TOKENIZE: {"prompt": "hi"},
}


def call_of(body: bytes, operation: Operation = Operation.CHAT, **changes: Any) -> Call:
    """A call as the edge would read it from this body."""
    found = requests.peek(operation, body)
    read: dict[str, Any] = {
        "operation": operation,
        "body": body,
        "requested_model": found.model,
        "stream": found.streamed,
        "wants_usage": found.wants_usage,
        "sets_stream_options": found.sets_stream_options,
        "has_tools": found.declares_tools,
    }
    return make_call(**(read | changes))


def ask(operation: Operation = Operation.CHAT, *, of: dict[str, Any] | None = None, **fields: Any) -> Call:
    """A call with these fields beside those that it must have; `of` changes the call itself."""
    body = {"model": "kimi-k2", **_NEEDED[operation], **fields}
    if operation is Operation.TOKENIZE and "messages" in fields:
        del body["prompt"]
    return call_of(json.dumps(body).encode(), operation, **(of or {}))


def prepared(backend: OpenAICompatible, call: Call, **replica: Any) -> UpstreamRequest:
    """What the backend would send."""
    return backend.prepare(call, make_replica(**replica), "call-1")


def sent(backend: OpenAICompatible, call: Call, **replica: Any) -> dict[str, Any]:
    """The body that the backend would send, without what every call to it has."""
    found: dict[str, Any] = json.loads(prepared(backend, call, **replica).body)
    needed = _NEEDED[call.operation]
    return {name: value for name, value in found.items() if name != "model" and needed.get(name) != value}
