"""Puts the served model name where an engine wrote its own; looks only where the first event had it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from backends.answers.drafts import cut, encode
from gateway.dataplane import sse

_BACKSLASH = ord("\\")


class _Named(Struct, frozen=True):
    model: Any = None


_NAMED = msgspec.json.Decoder(_Named)
_STRING = msgspec.json.Decoder(str)
_MODEL = re.compile(rb'(?<!\\)("model": ?)("(?:[^"\\]|\\.)*+")')


@lru_cache(maxsize=256)
def _json_of(name: str) -> bytes:
    return encode(name)


class ModelName:
    """Renames the model in the events of one stream.

    An engine names the model alike in every event, so the first event tells how: which bytes to look for in the others.
    They hold quotes that are not escaped, so they never stand inside a text.
    """

    __slots__ = ("_engine", "_shown", "known", "served")

    def __init__(self, served: str) -> None:
        self.served = _json_of(served)
        self.known = False
        self._engine = b""
        self._shown = b""

    @property
    def differs(self) -> bool:
        """Whether events have to be edited."""
        return bool(self._engine)

    def learn(self, events: bytes) -> None:
        """Look for the model's name in what came first."""
        if b'"model":' + self.served in events:
            self.known = True
            return
        for event in sse.split(events):
            payload = sse.data(event)
            if payload is None or payload == b"[DONE]":
                continue
            try:
                found = _NAMED.decode(payload).model
            except msgspec.DecodeError:
                return
            self.known = True
            if isinstance(found, str):
                self._learn(found, payload)
            return

    def _learn(self, engine: str, payload: bytes) -> None:
        for found in _MODEL.finditer(payload):
            if _STRING.decode(found[2]) == engine:
                if found[2] != self.served:
                    self._engine, self._shown = found[0], found[1] + self.served
                return

    def in_event(self, event: bytes) -> bytes:
        """One event with the served name."""
        at = event.find(self._engine)
        while at > 0 and event[at - 1] == _BACKSLASH:  # the end of a longer key
            at = event.find(self._engine, at + 1)
        return event if at < 0 else event[:at] + self._shown + event[at + len(self._engine) :]


def renamed(answer: bytes, served: str) -> bytes:
    """A whole answer with the served name; the same object where it has it, or names no model.

    Raises:
        msgspec.DecodeError: it is no JSON object.
    """
    found = _NAMED.decode(answer).model
    if not isinstance(found, str) or found == served:
        return answer
    return with_name(answer, served)


def with_name(answer: bytes, served: str) -> bytes:
    """A whole answer, which is a JSON object, with another model's name."""
    fields = cut(answer)
    fields["model"] = Raw(_json_of(served))
    return encode(fields)
