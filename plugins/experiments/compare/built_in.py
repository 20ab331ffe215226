"""The calls that come with moegate, made for the lab's k2-tiny: chat, arithmetic, tools; greedy, so that answers compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BUILT_IN = "k2-tiny"

Json = dict[str, Any]
_CITIES = ("Oslo", "Rome", "Tokyo", "Paris")
_ZONES = ("Lima", "Cairo", "Delhi", "Quito")
_GREETINGS = ("Hello!", "Good morning.", "How are you?", "Thank you very much.", "Who are you?", "What can you do?")
_FACTS = ("I live in Osaka.", "I live in Lyon.", "My name is Ada.", "My name is Tom.")
_QUESTIONS = ("Where do I live?", "Where do I live?", "What is my name?", "What is my name?")


def _tool(name: str, description: str, field: str) -> Json:
    parameters = {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {**parameters, "additionalProperties": False},
        },
    }


_WEATHER = _tool("get_weather", "Get the current weather for a city", "city")
_TIME = _tool("get_time", "Get the local time of a city", "city")


def built_in_calls() -> Iterator[tuple[str, Json, str | None]]:
    """Name, body, and the finish reason that k2-tiny learned where there is only one right one."""
    for number, text in enumerate(_GREETINGS):
        yield f"chat-{number}", _body(text, most=48), None
    for number, (fact, question) in enumerate(zip(_FACTS, _QUESTIONS, strict=True)):
        turns = [_said("user", fact), _said("assistant", "Nice to know."), _said("user", question)]
        yield f"memory-{number}", {"messages": turns, "temperature": 0, "max_tokens": 32}, None
    for first in range(1, 6):
        for second in (2, 7, 14, 25):
            text = f"What is {first * 3} + {second}?"
            yield f"sum-{first * 3}-{second}", _body(text, most=24), "stop"
    for city in _CITIES:
        yield f"weather-{city.lower()}", _body(f"What is the weather in {city}?", _WEATHER), "tool_calls"
        text = f"Do I need an umbrella in {city}?"
        yield f"umbrella-{city.lower()}", _body(text, _WEATHER, _TIME), "tool_calls"
    for city in _ZONES:
        yield f"time-{city.lower()}", _body(f"What time is it in {city}?", _TIME, _WEATHER), "tool_calls"
        # A tool is there, and nothing to call it for.
        yield f"no-call-{city.lower()}", _body(f"Repeat after me: {city}", _WEATHER), "stop"
    for number, city in enumerate(_CITIES):
        yield f"json-{number}", _json_body(f"Write JSON with city {city}.", most=48), None


def _said(role: str, text: str) -> Json:
    return {"role": role, "content": text}


def _body(text: str, *tools: Json, most: int = 96) -> Json:
    body: Json = {"messages": [_said("user", text)], "temperature": 0, "max_tokens": most}
    return {**body, "tools": list(tools)} if tools else body


def _json_body(text: str, most: int) -> Json:
    return {**_body(text, most=most), "response_format": {"type": "json_object"}}
