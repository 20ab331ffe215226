"""Finds tool calls that an engine left in its text, written in Kimi K2's markers, and reads those that are complete.

Engines parse these markers away; a parser that misses one hands them out as content (MoonshotAI/Kimi-K2, issue 26;
format: its docs/tool_call_guidance.md). Time is linear in the text, and what is held back is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import msgspec
from msgspec import Raw, Struct

SECTION_BEGIN: Final = "<|tool_calls_section_begin|>"
SECTION_END: Final = "<|tool_calls_section_end|>"
CALL_BEGIN: Final = "<|tool_call_begin|>"
CALL_END: Final = "<|tool_call_end|>"
ARGUMENT_BEGIN: Final = "<|tool_call_argument_begin|>"

MARKERS: Final = (SECTION_BEGIN, SECTION_END, CALL_BEGIN, CALL_END, ARGUMENT_BEGIN)
STEM: Final = "<|tool_call"
"""How each of them begins."""

MOST_HELD: Final = 1 << 20
"""Characters of one call that are held back at most while its end has not come."""

_MARKER = re.compile("|".join(map(re.escape, MARKERS)))
_LONGEST = max(map(len, MARKERS))
_MOST_BLANKS = 64
_MOST_HEADER = 320
_MOST_BEGINNING = 768  # of headers run together, as broken answers have them
_HEADER = re.compile(r"(?:functions\.)?([^\s<|:]{1,256})(?::\d{1,18})?")
_ARGUMENTS = msgspec.json.Decoder(dict[str, Raw])


class LeakedCall(Struct, frozen=True):
    """A complete tool call found in text. `arguments` is a JSON object as the model wrote it."""

    name: str
    arguments: str


Piece = str | LeakedCall


def may_leak(text: str) -> bool:
    """Whether a marker may be in a text, or begin at its end."""
    return "<|" in text or text.endswith("<")


def name_in(header: str, accepts: Callable[[str], bool]) -> str | None:
    """The tool that a call's header names, the last of several run together; None if it is none that may be called."""
    found = _HEADER.fullmatch(header.rpartition(CALL_BEGIN)[2].strip())
    return found[1] if found is not None and accepts(found[1]) else None


class LeakScanner:
    """Reads one choice's text as it comes.

    Args:
        accepts: whether a call of this tool may be handed to the client. A call of any other stays text.

    Attributes:
        seen: a whole marker was in the text.
    """

    __slots__ = ("_accepts", "_after_call", "_edge", "_held", "_in_arguments", "_size", "seen")

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self.seen = False
        self._accepts = accepts
        self._after_call = False
        self._held: list[str] = []
        self._in_arguments = False
        self._size = 0
        self._edge = ""

    @property
    def busy(self) -> bool:
        """Whether text is held back, or what comes next is to be read together with what came before."""
        return bool(self._held) or self._after_call

    def feed(self, text: str) -> list[Piece]:
        """Take text; return what of it, and of what was held back, is decided now."""
        if not self._in_arguments:
            whole = "".join(self._held) + text
            self._forget()
            return self._read(whole)
        # Long arguments come in many pieces: they are joined once, when an end has come.
        self._held.append(text)
        self._size += len(text)
        window = self._edge + text
        if self._size <= MOST_HELD and CALL_END not in window and SECTION_END not in window:
            self._edge = window[-_LONGEST:]
            return []
        return self._read(self._taken())

    def end(self, *, whole: bool) -> list[Piece]:
        """The text is over: return what was held back. `whole` says that the model meant to stop there."""
        return self._read(self._taken(), final=True, whole=whole)

    def _taken(self) -> str:
        text = "".join(self._held)
        self._forget()
        return text

    def _forget(self) -> None:
        self._held = []
        self._in_arguments = False
        self._size = 0
        self._edge = ""

    def _hold(self, text: str, *, in_arguments: bool = False) -> None:
        if text:
            self._held, self._in_arguments, self._size = [text], in_arguments, len(text)
            self._edge = text[-_LONGEST:]

    def _read(self, text: str, *, final: bool = False, whole: bool = False) -> list[Piece]:
        """Go over all markers once; hold back what a later one may still change."""
        reading = _Reading(text, self._accepts, after_call=self._after_call)
        for marker in _MARKER.finditer(text):
            self.seen = True
            reading.step(marker[0], marker.start(), marker.end())
        if final:
            reading.close(whole=whole)
        else:
            reading.wait(_edge_of(text, reading.passed))
        self._after_call = reading.phase is _Phase.AFTER_CALL
        self._hold(text[reading.at :], in_arguments=reading.phase is _Phase.ARGUMENTS)
        return reading.pieces


class _Phase(Enum):
    TEXT = auto()
    SECTION = auto()
    HEADER = auto()
    ARGUMENTS = auto()
    AFTER_CALL = auto()


class _Reading:
    """One pass over text, marker by marker.

    Attributes:
        at: up to here the text is decided.
        passed: the end of the last marker.
        phase: what the text after that marker is.
    """

    __slots__ = ("_accepts", "_argument", "_begin", "_header", "at", "passed", "phase", "pieces", "text")

    def __init__(self, text: str, accepts: Callable[[str], bool], *, after_call: bool) -> None:
        self.text = text
        self.pieces: list[Piece] = []
        self.at = 0
        self.passed = 0
        self.phase = _Phase.AFTER_CALL if after_call else _Phase.TEXT
        self._accepts = accepts
        self._begin = 0
        self._header = 0
        self._argument = 0

    def step(self, kind: str, start: int, end: int) -> None:
        """Read on to the end of the next marker. A marker out of its place leaves everything before it text."""
        if not self._continues(kind, start, end):
            if kind in {SECTION_BEGIN, CALL_BEGIN}:
                self._begin, self._header = start, end
                self.phase = _Phase.SECTION if kind == SECTION_BEGIN else _Phase.HEADER
            else:
                self.phase = _Phase.TEXT
        self.passed = end

    def _continues(self, kind: str, start: int, end: int) -> bool:
        """Whether the marker goes on with what was begun; then it is dealt with."""
        gap = start - self.passed
        if self.phase is _Phase.AFTER_CALL and self._is_blank(start):
            self.at = end if kind == SECTION_END else start  # blanks between calls are no text
            self.phase = _Phase.TEXT
            return kind == SECTION_END
        if self.phase is _Phase.SECTION and kind == CALL_BEGIN and gap <= _MOST_BLANKS and self._is_blank(start):
            self.phase, self._header = _Phase.HEADER, end
            return True
        if self.phase is _Phase.HEADER and gap <= _MOST_HEADER and kind in {CALL_BEGIN, ARGUMENT_BEGIN}:
            if kind == ARGUMENT_BEGIN:
                self.phase, self._argument = _Phase.ARGUMENTS, end
            return True
        if self.phase is _Phase.ARGUMENTS and kind in {CALL_END, SECTION_END}:
            self.phase = _Phase.TEXT
            if self._call_until(start, end) and kind == CALL_END:
                self.phase = _Phase.AFTER_CALL
            return True
        return False

    def wait(self, edge: int) -> None:
        """No marker is left, but more text comes: decide all up to what a later marker may still change."""
        rest = edge - self.passed
        match self.phase:
            case _Phase.SECTION | _Phase.AFTER_CALL:
                waits = rest <= _MOST_BLANKS and self._is_blank(edge)
            case _Phase.HEADER:
                waits = edge - self._begin <= _MOST_BEGINNING
            case phase:
                waits = phase is _Phase.ARGUMENTS and edge - self._begin <= MOST_HELD
        if not waits:
            self.phase = _Phase.TEXT
        self._release(edge if not waits else self.at if self.phase is _Phase.AFTER_CALL else self._begin)

    def close(self, *, whole: bool) -> None:
        """Nothing more comes."""
        end = len(self.text)
        if self.phase is _Phase.ARGUMENTS and whole:
            self._call_until(end, end)
        elif self.phase is _Phase.AFTER_CALL and self._is_blank(end):
            self.at = end
        self.phase = _Phase.TEXT
        self._release(end)

    def _call_until(self, end: int, after: int) -> bool:
        """Take the text up to here as a call's arguments; say whether they are some, of a tool that may be called."""
        name = name_in(self.text[self._header : self._argument - len(ARGUMENT_BEGIN)], self._accepts)
        arguments = self.text[self._argument : end].strip()
        if name is None or not is_object(arguments):
            return False
        self._release(self._begin)
        self.pieces.append(LeakedCall(name, arguments))
        self.at = after
        return True

    def _is_blank(self, end: int) -> bool:
        return not self.text[self.passed : end].strip()

    def _release(self, end: int) -> None:
        """Let text go as it is."""
        if end > self.at:
            self.pieces.append(self.text[self.at : end])
            self.at = end


def is_object(text: str) -> bool:
    """Whether text is one whole JSON object."""
    try:
        _ARGUMENTS.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _edge_of(text: str, start: int) -> int:
    """Where a marker may begin whose end has not come; the text's end if none does."""
    at = text.rfind("<", max(start, len(text) - _LONGEST + 1))
    return at if at >= 0 and any(marker.startswith(text[at:]) for marker in MARKERS) else len(text)
