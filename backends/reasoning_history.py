"""Gives an engine what its model thought earlier under the name that the engine reads; touches nothing else of a message."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from backends.parameters import NULL
from backends.request_edit import RequestEdit, cut, encode

_ITEMS = msgspec.json.Decoder(list[Raw])
_NAMES = ("reasoning_content", "reasoning")


def rename_reasoning(edit: RequestEdit, own_name: str) -> None:
    """Put what stands under the other name under the engine's own, in messages that have nothing under that."""
    other = _NAMES[own_name == _NAMES[0]]
    mark = b'"%b"' % other.encode()
    if mark not in edit.call.body:
        return
    try:
        items: list[Any] = _ITEMS.decode(edit.fields.get("messages", NULL))
    except msgspec.DecodeError:
        return
    renamed = False
    for position, raw in enumerate(items):
        if mark not in bytes(raw):
            continue
        try:
            fields = cut(raw)
        except msgspec.DecodeError:
            continue
        if fields.get(other, NULL) != NULL and fields.get(own_name, NULL) == NULL:
            fields[own_name] = fields.pop(other)
            items[position] = fields
            renamed = True
    if renamed:
        edit.put("messages", Raw(encode(items)))
        edit.note("reasoning_history")
