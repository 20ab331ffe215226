"""Finds the prompt in a call: how long it is without reading it, and as messages or texts for a tokenizer; counts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.contracts.call import Call, Operation

# Of each operation, the fields that a model reads.
_READ = {
    Operation.CHAT: ("messages", "tools"),
    Operation.COMPLETIONS: ("prompt",),
    Operation.RESPONSES: ("input", "instructions", "tools"),
    Operation.MESSAGES: ("messages", "system", "tools"),
    Operation.COUNT_TOKENS: ("messages", "system", "tools"),
    Operation.TOKENIZE: ("prompt", "messages", "tools"),
}

# What a chat template gets from us, so that a client must not set it.
_RESERVED = frozenset({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"})

_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})

_ITEMS = msgspec.json.Decoder(list[Raw])
_MOST_DIGITS = 6

Message = dict[str, Any]


class Unreadable(Exception):
    """The prompt holds what cannot be written as text: images, audio, a shape that nobody knows."""


class Conversation(Struct, frozen=True):
    """What a chat template is rendered with."""

    messages: list[Message]
    tools: list[Any] | None = None
    arguments: Mapping[str, Any] = {}


class Texts(Struct, frozen=True):
    """Texts that go to the tokenizer as they are, and how many tokens came as token ids."""

    texts: list[str]
    ids: int = 0


def prompt_bytes(call: Call) -> int:
    """How long the prompt is, as it was written."""
    fields, length = call.fields, 0
    for name in _READ[call.operation]:
        raw = fields.get(name)
        if raw is not None:
            length += memoryview(raw).nbytes
    return length


def choices(call: Call) -> int:
    """How many answers the call asks for: completions take several prompts, and each has `n`."""
    wanted = _number(call.fields.get("n"))
    if call.operation is Operation.COMPLETIONS:
        prompt = call.fields.get("prompt")
        if prompt is not None and memoryview(prompt)[:1].tobytes() == b"[":
            items = _ITEMS.decode(prompt)
            is_one = bool(items) and bytes(memoryview(items[0])[:1]).isdigit()  # token ids
            wanted *= 1 if is_one else max(len(items), 1)
    return wanted


def _number(raw: Raw | None) -> int:
    if raw is None:
        return 1
    digits = bytes(raw)
    return max(int(digits), 1) if digits.isdigit() and len(digits) <= _MOST_DIGITS else 1


def read(call: Call) -> Conversation | Texts:
    """The prompt, decoded.

    Raises:
        Unreadable: it is not text alone.
    """
    try:
        match call.operation:
            case Operation.COMPLETIONS:
                return _texts(_decoded(call, "prompt"))
            case Operation.CHAT:
                return _chat(call)
            case Operation.MESSAGES:
                return _spoken(call, "messages", "system")
            case Operation.RESPONSES:
                return _spoken(call, "input", "instructions")
            case _:
                raise Unreadable(f"nothing is generated for {call.operation.value}")
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def _decoded(call: Call, name: str) -> Any:
    raw = call.fields.get(name)
    return msgspec.json.decode(raw) if raw is not None else None


def _texts(prompt: Any) -> Texts:
    """A text, several, token ids, or several lists of them, as the completions API takes them."""
    items = prompt if isinstance(prompt, list) else [prompt]
    texts: list[str] = []
    ids = 0
    for item in items:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, int):
            ids += 1
        elif isinstance(item, list):
            ids += len(item)
        else:
            raise Unreadable("a prompt is neither text nor token ids")
    return Texts(texts, ids)


def _chat(call: Call) -> Conversation:
    messages = [_message(message) for message in _items(_decoded(call, "messages"))]
    tools = _decoded(call, "tools") if call.has_tools and not _forbids_tools(call.fields) else None
    arguments = _decoded(call, "chat_template_kwargs") or {}
    if not isinstance(arguments, dict):
        raise Unreadable("chat_template_kwargs is no object")
    return Conversation(messages, tools, {name: arguments[name] for name in arguments if name not in _RESERVED})


def _forbids_tools(fields: Mapping[str, Raw]) -> bool:
    choice = fields.get("tool_choice")
    return choice is not None and bytes(choice) == b'"none"'


def _items(messages: Any) -> list[Message]:
    if isinstance(messages, list) and all(isinstance(message, dict) for message in messages):
        return messages
    raise Unreadable("the messages are no list of objects")


def _message(message: Message) -> Message:
    # Templates know `system`; OpenAI's newer word for it is not in them.
    role = "system" if message.get("role") == "developer" else message.get("role")
    read: Message = {**message, "role": role, "content": _text(message.get("content"))}
    reasoning = message.get("reasoning_content", message.get("reasoning"))
    if reasoning is not None:
        read["reasoning_content"] = reasoning
    return read


def _spoken(call: Call, items: str, system: str) -> Conversation:
    """A conversation in the words of Anthropic's API or of OpenAI's Responses, as far as it is spoken text alone."""
    if call.has_tools:
        raise Unreadable("engines write the tools of this API each in their own way")
    messages: list[Message] = []
    preface = _decoded(call, system)
    if preface is not None:
        messages.append({"role": "system", "content": _text(preface)})
    said = _decoded(call, items)
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    for message in _items(said):
        if message.get("type", "message") != "message":
            raise Unreadable("an item is no message")
        messages.append(_message(message))
    return Conversation(messages)


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise Unreadable("a content is neither text nor parts")
    pieces = []
    for part in content:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str) or (isinstance(part, dict) and part.get("type") not in _TEXT_PARTS):
            raise Unreadable("a part of a content is no text")
        pieces.append(text)
    return "".join(pieces)
