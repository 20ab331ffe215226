"""What replicas are asked: a fixed set that touches what engines do differently, or the lines of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import ConfigError

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_PROMPTS = 1_000
# The plain text of the fixed set that holds what its conversations say.
CONVERSATIONS_AS_TEXT = "said"

Message = dict[str, Any]
Tool = dict[str, Any]


class Prompt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt: a plain text, or a conversation that the engine renders by its chat template."""

    name: str
    text: str | None = None
    messages: list[Message] | None = None
    tools: list[Tool] | None = None


def read_prompts(file: Path) -> tuple[Prompt, ...]:
    """Read a file of prompts, one JSON object a line: `name`, and either `text` or `messages` (with or without `tools`).

    Raises:
        ConfigError: the file cannot be read, or a line is no prompt.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{file}: longer than {MAX_FILE_BYTES} bytes")
    decoder = msgspec.json.Decoder(Prompt)
    prompts: dict[str, Prompt] = {}
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            prompt = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: line {number} is no prompt: {error}") from error
        if (prompt.text is None) == (prompt.messages is None) or not (prompt.text or prompt.messages):
            raise ConfigError(f"{file}: line {number} needs either `text` or `messages`, and not an empty one")
        if prompt.name in prompts:
            raise ConfigError(f"{file}: line {number} repeats the name {prompt.name!r}")
        prompts[prompt.name] = prompt
    if not 0 < len(prompts) <= MAX_PROMPTS:
        raise ConfigError(f"{file}: holds {len(prompts)} prompts; 1 to {MAX_PROMPTS} are wanted")
    return tuple(prompts.values())


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _called(*calls: tuple[str, str]) -> Message:
    """An assistant's message with tool calls; ids are Kimi's own, which engines print into the prompt as they are."""
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": f"functions.{name}:{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(calls)
        ],
    }


def _returned(name: str, index: int, text: str) -> Message:
    return {"role": "tool", "tool_call_id": f"functions.{name}:{index}", "content": text}


_WEATHER: Tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city's name"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}
# Without a description and without `required`: engines that rebuild declarations fill in what they miss.
_TIME: Tool = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
}
_OSLO = '{"city":"Oslo"}'

# Each text is one of the places where tokenizers part: splitting rules, digits, white space, normalisation, bytes.
_TEXTS = {
    "plain": "The quick brown fox jumps over the lazy dog.",
    "digits": "In 2026 there were 1234567890 of 3.14159 and 0x1F; 7 10 12 17 25 99 100 365 1000 2,500.",
    "unicode": "Grüße aus Zürich, 東京 und Київ: 🌍👩‍🚀 ñandú.",
    "normalisation": "caf\u00e9 cafe\u0301 \ufb01 \u2460 \u00bd \u212b",
    "spaces": "  two  spaces,\ta tab,\n\nan empty line,  \r\n and an end ",
    "code": "def add(a, b):\n    return a + b  # sum\n\nx_1 = {'k': [1, 2]}\n",
    "words": "moegate routesRequests to_the HTTPServer's don't-care ROUTER",
    "marks": 'Wait... what?! (yes) [no] {maybe} <tag> "quoted" -- end; $5 100% a&b',
}  # fmt: skip

_CHATS: dict[str, tuple[list[Message], list[Tool] | None]] = {
    "hello": ([_user("Hello!")], None),
    "sum": ([_user("What is 17 + 25?")], None),
    "foreign": ([_user("Say: Grüße, 東京 🌍!")], None),
    "system": ([{"role": "system", "content": "You are Ada. Be brief."}, _user("Who are you?")], None),
    "turns": ([_user("My name is Tom."), _assistant("Hello, Tom!"), _user("What is my name?")], None),
    "tools": ([_user("What is the weather in Oslo?")], [_WEATHER]),
    "tools_bare": ([_user("What time is it in Rome?")], [_TIME, _WEATHER]),
    "tool_result": (
        [_user("What is the weather in Oslo?"), _called(("get_weather", _OSLO)), _returned("get_weather", 0, "sunny")],
        [_WEATHER],
    ),
    "tool_results": (
        [
            {"role": "system", "content": "Use tools."},
            _user("Weather in Oslo, and the time in Rome?"),
            _called(("get_weather", _OSLO), ("get_time", '{"zone":"Rome"}')),
            _returned("get_weather", 0, '{"sky":"grey","degrees":-3}'),
            _returned("get_time", 1, "12:05"),
            _assistant("It is grey in Oslo, and 12:05 in Rome."),
            _user("Thanks!"),
        ],
        [_WEATHER, _TIME],
    ),
}

# What conversations hold besides their template, as plain text: so that a tokenizer is not taken for a template.
_TEXTS[CONVERSATIONS_AS_TEXT] = "\n".join(
    dict.fromkeys(message["content"] for messages, _ in _CHATS.values() for message in messages if message["content"])
)
_TEXTS["declared"] = msgspec.json.encode([_WEATHER, _TIME]).decode()

FIXED_SET = (
    *(Prompt(name=name, text=text) for name, text in _TEXTS.items()),
    *(Prompt(name=name, messages=messages, tools=tools) for name, (messages, tools) in _CHATS.items()),
)
