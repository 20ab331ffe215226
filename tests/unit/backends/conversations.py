"""Conversations with tool calls, in chat's form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec import Raw

from backends.tool_history import History

USER = {"role": "user", "content": "and now?"}


def numbered(number: Callable[[Raw], History], items: Any) -> tuple[Any, History]:
    history = number(Raw(json.dumps(items).encode()))
    return (json.loads(bytes(history.items)) if history.items is not None else items), history


def call(call_id: Any, name: str = "get_weather", arguments: str = '{"city":"Paris"}') -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*made: dict[str, Any], content: Any = "") -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(made)}


def result(call_id: Any, content: str = "sunny") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}
