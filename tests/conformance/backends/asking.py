"""What the cases ask, and small readers of what comes back; knows no engine.

The questions are ones that k2-tiny was trained on, and the scripted engines answer as it does.
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

SUM: list[Json] = [{"role": "user", "content": "What is 3 + 4?"}]
HELLO: list[Json] = [{"role": "user", "content": "Hello!"}]
WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather for a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TOOLS = [WEATHER]
PARIS: Json = {"role": "user", "content": "What is the weather in Paris?"}
BOTH: Json = {"role": "user", "content": "What is the weather for Paris and Oslo?"}
SCHEMA: Json = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
FORMAT: Json = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}

ANTHROPIC_TOOLS = [
    {
        "name": "get_weather",
        "description": "Get the weather for a city.",
        "input_schema": WEATHER["function"]["parameters"],
    }
]
RESPONSES_TOOLS = [{"type": "function", **WEATHER["function"], "strict": False}]

CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
COUNT_TOKENS, RESPONSES, TOKENIZE = "/v1/messages/count_tokens", "/v1/responses", "/tokenize"

# What a client must never read of the machines behind the gateway.
PRIVATE = ("127.0.0.1", "10.1.2.3", "://", "/opt/", "/srv/", "Traceback", ".py", "EngineCore")


def call(identifier: str, city: str = "Paris") -> Json:
    """A tool call in a conversation's history."""
    arguments = json.dumps({"city": city})
    return {"id": identifier, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def result(identifier: str, content: str) -> Json:
    """What a tool said."""
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def faulty(fault: str, messages: list[Json] | None = None) -> list[Json]:
    """A question that makes a scripted engine fail in a certain way."""
    *before, last = messages or SUM
    return [*before, {**last, "content": f"{last['content']} [[fault:{fault}]]"}]


def payloads(stream: bytes) -> list[bytes]:
    """The data of each event of a stream; comments are left out."""
    lines = stream.replace(b"\r\n", b"\n").split(b"\n")
    return [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]


def names(stream: bytes) -> list[str]:
    """The names of a stream's events."""
    lines = stream.replace(b"\r\n", b"\n").split(b"\n")
    return [line.removeprefix(b"event:").strip().decode() for line in lines if line.startswith(b"event:")]


def listed(header: str | None) -> list[str]:
    """The items of a header."""
    return [item.strip() for item in (header or "").split(",") if item.strip()]
