"""Whether chats and completions say anything, in OpenAI's shape; asked only where the configuration wants it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from gateway.contracts.call import Operation
from gateway.dataplane import sse

# Those whose shape is known here.
OPERATIONS = frozenset({Operation.CHAT, Operation.COMPLETIONS})


class _Said(Struct):
    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class _Choice(Struct):
    text: Any = None
    message: _Said | None = None
    delta: _Said | None = None


class _Answer(Struct):
    choices: list[_Choice] = []


_ANSWER = msgspec.json.Decoder(_Answer)


def says_something(answer: bytes) -> bool:
    """Whether a plain answer, or one event's payload, holds a text or a tool call. What is no such answer says something."""
    try:
        choices = _ANSWER.decode(answer).choices
    except (msgspec.DecodeError, RecursionError):
        return True
    return any(map(_says, choices))


def events_say_something(events: bytes) -> bool:
    """Whether one of these events does."""
    payloads = filter(None, map(sse.data, sse.split(events)))
    return any(says_something(payload) for payload in payloads if payload != b"[DONE]")


def _says(choice: _Choice) -> bool:
    said = choice.message or choice.delta or _Said()
    return any((
        choice.text, said.content, said.reasoning, said.reasoning_content, said.refusal, said.tool_calls,
        said.function_call, said.audio,
    ))  # fmt: skip
