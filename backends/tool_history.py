"""Finds the tool calls and results in a conversation, as each API writes them, and has them numbered; numbers none itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from backends.call_numbers import CallNumbers, Fields, Results
from backends.parameters import NULL, decoded
from backends.request_edit import RequestEdit, cut, encode
from gateway import Operation

_ITEMS = msgspec.json.Decoder(list[Raw])
_OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]])
_EMPTY_TEXT = Raw(b'""')


class History(Struct):
    """A conversation with its calls numbered. `items` is None if nothing of it changed."""

    items: Raw | None
    client_ids: Mapping[str, str]
    calls: int
    renumbered: bool
    emptied: bool = False


def number_chat(messages: Raw) -> History:
    """Number the `tool_calls` of chat messages, and give each message that calls tools a content that is text.

    Raises:
        msgspec.DecodeError: it is no array.
    """
    items: list[Any] = _ITEMS.decode(messages)
    numbers, results = CallNumbers(), Results()
    reordered = emptied = False
    for position, raw in enumerate(items):
        fields = _fields(raw, b"tool_call")
        calls = _calls(fields)
        if calls:
            reordered |= results.reorder(items)
            numbers.begin_turn()
            for call in calls:
                numbers.call(call, "id", _name(call))
            fields["tool_calls"] = Raw(encode(calls))
            emptied |= _fill_content(fields)
            items[position] = fields
        elif "tool_call_id" in fields:
            results.add(position, numbers.result(fields, "tool_call_id"))
            items[position] = fields
        else:
            reordered |= results.reorder(items)
    reordered |= results.reorder(items)
    return _history(items, numbers, reordered=reordered, emptied=emptied)


def number_messages(messages: Raw) -> History:
    """Number the `tool_use` blocks of Anthropic's messages.

    Raises:
        msgspec.DecodeError: it is no array.
    """
    items: list[Any] = _ITEMS.decode(messages)
    numbers = CallNumbers()
    reordered = False
    for position, raw in enumerate(items):
        fields = _fields(raw, b"tool_use")
        blocks = _objects(fields.get("content", NULL))
        kinds = [decoded(block.get("type", NULL)) for block in blocks]
        if "tool_use" not in kinds and "tool_result" not in kinds:
            continue
        results = Results()
        if "tool_use" in kinds:
            numbers.begin_turn()
        for at, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
            if kind == "tool_use":
                numbers.call(block, "id", decoded(block.get("name", NULL)))
            elif kind == "tool_result":
                results.add(at, numbers.result(block, "tool_use_id"))
        reordered |= results.reorder(blocks)
        fields["content"] = Raw(encode(blocks))
        items[position] = fields
    return _history(items, numbers, reordered=reordered)


def number_responses(items_of_input: Raw) -> History:
    """Number the `function_call` items of a Responses input.

    Raises:
        msgspec.DecodeError: it is no array.
    """
    items: list[Any] = _ITEMS.decode(items_of_input)
    numbers, results = CallNumbers(), Results()
    reordered, calling = False, False
    for position, raw in enumerate(items):
        fields = _fields(raw, b"function_call")
        kind = decoded(fields.get("type", NULL))
        if kind == "function_call":
            if not calling:
                reordered |= results.reorder(items)
                numbers.begin_turn()
            numbers.call(fields, "call_id", decoded(fields.get("name", NULL)))
            items[position] = fields
        elif kind == "function_call_output":
            results.add(position, numbers.result(fields, "call_id"))
            items[position] = fields
        else:
            reordered |= results.reorder(items)
        calling = kind == "function_call"
    reordered |= results.reorder(items)
    return _history(items, numbers, reordered=reordered)


def _history(items: list[Any], numbers: CallNumbers, *, reordered: bool, emptied: bool = False) -> History:
    renumbered = numbers.renamed or reordered
    changed = Raw(encode(items)) if renumbered or emptied else None
    return History(changed, numbers.client_ids, numbers.index, renumbered, emptied)


def _fields(raw: Raw, mark: bytes) -> Fields:
    """An item's fields, if it may hold what is looked for; none if it is no object."""
    if mark not in bytes(raw):
        return {}
    try:
        return cut(raw)
    except msgspec.DecodeError:
        return {}


def _objects(raw: Raw) -> list[Fields]:
    """The objects of an array; none if it is no array of objects alone."""
    try:
        return _OBJECTS.decode(raw)
    except msgspec.DecodeError:
        return []


def _calls(fields: Fields) -> list[Fields]:
    return _objects(fields["tool_calls"]) if "tool_calls" in fields else []


def _name(call: Fields) -> Any:
    try:
        return decoded(cut(call.get("function", NULL)).get("name", NULL))
    except msgspec.DecodeError:
        return None


def _fill_content(fields: Fields) -> bool:
    """Make the content of a message that calls tools one text; say whether it was none. What is not text alone stays."""
    content = fields.get("content", NULL)
    if content == NULL:
        fields["content"] = _EMPTY_TEXT
        return True
    if not bytes(content).startswith(b"["):
        return False
    texts = []
    for part in _objects(content):
        text = decoded(part.get("text", NULL))
        if decoded(part.get("type", NULL)) != "text" or not isinstance(text, str):
            return False
        texts.append(text)
    if not texts and bytes(content).strip(b"[] \t\r\n"):
        return False
    fields["content"] = Raw(encode("".join(texts)))
    return True


Numbering = Callable[[Raw], History]

# Per operation: where its history is, what of a tool call stands in one, and who numbers it.
_HISTORIES: Mapping[Operation, tuple[str, bytes, Numbering]] = {
    Operation.CHAT: ("messages", b'"tool_call', number_chat),
    Operation.TOKENIZE: ("messages", b'"tool_call', number_chat),
    Operation.MESSAGES: ("messages", b'"tool_use', number_messages),
    Operation.COUNT_TOKENS: ("messages", b'"tool_use', number_messages),
    Operation.RESPONSES: ("input", b'"function_call', number_responses),
}


def number_calls(edit: RequestEdit) -> None:
    """Number the calls of a request's history, if it has any."""
    found = _HISTORIES.get(edit.call.operation)
    if found is None:
        return
    field, mark, number = found
    if mark not in edit.call.body or field not in edit.fields:
        return
    try:
        history = number(edit.fields[field])
    except (msgspec.DecodeError, RecursionError):  # a text, or what the engine shall refuse
        return
    edit.client_call_ids, edit.next_call_index = history.client_ids, history.calls
    if history.items is None:
        return
    edit.put(field, history.items)
    if history.renumbered:
        edit.note("tool_ids")
    if history.emptied:
        edit.note("tool_content")
