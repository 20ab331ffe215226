"""The parts of OpenAI-shaped answers that meters read, as engines write them; everything else stays unread."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct


class Function(Struct, frozen=True):
    """What a tool call names; engines leave either out, or send null, where it does not change."""

    name: Any = None
    arguments: Any = None


class ToolCall(Struct, frozen=True):
    """One tool call, or a piece of one. `index` is there only in streams."""

    index: int | None = None
    id: Any = None
    function: Function | None = None


class Message(Struct, frozen=True):
    """A message, or what a chunk adds to it."""

    content: Any = None
    tool_calls: list[ToolCall] | None = None


class Choice(Struct, frozen=True):
    """One of the answers to a request. `finish_reason` is a word, null, or an object that holds the word as `type`.

    `usage` is here in answers of Moonshot's own API.
    """

    index: int = 0
    finish_reason: Any = None
    usage: Raw = Raw()


class ChoiceWithTools(Choice, frozen=True):
    """One of the answers to a request with tools."""

    delta: Message | None = None
    message: Message | None = None


class Answer(Struct, frozen=True):
    """An answer, or one event of it. `object` is "error" where an engine writes an error flat (SGLang, TensorRT-LLM)."""

    model: Any = None
    usage: Raw = Raw()
    choices: list[Choice] | None = None
    error: Any = None  # not Raw, which msgspec does not take in a union
    object: Any = None

    @property
    def is_error(self) -> bool:
        """Whether this is no answer but an error."""
        return self.error is not None or self.object == "error"


class AnswerWithTools(Answer, frozen=True):
    """The same, read as deep as tool calls lie."""

    choices: list[ChoiceWithTools] | None = None  # type: ignore[assignment] # narrower: what is read is never written


read_answer = msgspec.json.Decoder(Answer).decode
read_answer_with_tools = msgspec.json.Decoder(AnswerWithTools).decode


def holds_error(payload: bytes) -> bool:
    """Whether an event's payload, or an answer with status 200, is an error.

    Raises:
        msgspec.DecodeError: it is no JSON, or no answer of any shape.
    """
    return read_answer(payload).is_error


def finish_word(reason: Any) -> str | None:
    """OpenAI's word for why a choice ended, of any form that engines write it in; None while it goes on."""
    if isinstance(reason, dict):
        reason = reason.get("type")
    return reason if isinstance(reason, str) else None
