"""Reads Kimi's tool-call markup out of text as it comes; it must not judge arguments or rewrite ids.

`<|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:IDX<|tool_call_argument_begin|>JSON<|tool_call_end|>…<|tool_calls_section_end|>`

What is no well-formed call comes out as content, markers included: a caller can then see what the model wrote.
"""

import enum
import re
from typing import NamedTuple

from backends.torch_reference.engine.stop_strings import partial_match_length

SECTION_BEGIN = "<|tool_calls_section_begin|>"
SECTION_END = "<|tool_calls_section_end|>"
CALL_BEGIN = "<|tool_call_begin|>"
ARGUMENT_BEGIN = "<|tool_call_argument_begin|>"
CALL_END = "<|tool_call_end|>"
MARKERS = (SECTION_BEGIN, SECTION_END, CALL_BEGIN, ARGUMENT_BEGIN, CALL_END)

_MARKER = re.compile("(" + "|".join(re.escape(marker) for marker in MARKERS) + ")")
_CALL_ID = re.compile(r"(?:functions\.)?(?P<name>[^\s:<>]+):\d+")


class ContentDelta(NamedTuple):
    """Text meant for the reader."""

    text: str


class CallStarted(NamedTuple):
    """A tool call whose id and name are known."""

    position: int
    id: str
    name: str


class ArgumentsDelta(NamedTuple):
    """More of a tool call's arguments."""

    position: int
    text: str


ToolEvent = ContentDelta | CallStarted | ArgumentsDelta


def forced_call_text(name: str | None, index: int) -> str:
    """Return the markup that makes the model call a tool: this one, or with no name any."""
    # Without a name the model goes on at a marker, where its own tokens begin; half a word would split them wrongly.
    prefix = SECTION_BEGIN + CALL_BEGIN
    return prefix if name is None else f"{prefix}functions.{name}:{index}{ARGUMENT_BEGIN}"


class _State(enum.Enum):
    CONTENT = enum.auto()
    SECTION = enum.auto()
    HEADER = enum.auto()
    ARGUMENTS = enum.auto()


class ToolCallParser:
    """The tool calls of one answer."""

    def __init__(self) -> None:
        """Start in plain content."""
        self.calls_started = 0
        self._state = _State.CONTENT
        # Text whose end may become a marker.
        self._pending = ""
        # Markup that becomes a call once its id is complete, or else content.
        self._raw = ""
        self._header = ""
        self._events: list[ToolEvent] = []

    def feed(self, text: str) -> list[ToolEvent]:
        """Return what this text adds."""
        pending = self._pending + text
        boundary = len(pending) - partial_match_length(pending, MARKERS)
        self._pending = pending[boundary:]
        for piece in _MARKER.split(pending[:boundary]):
            if piece:
                self._take(piece)
        return self._drain()

    def finish(self) -> list[ToolEvent]:
        """Return what was held back, now that the text is over."""
        pending, self._pending = self._pending, ""
        if pending:
            self._on_text(pending)
        self._give_up("")
        return self._drain()

    def _take(self, piece: str) -> None:
        if piece in MARKERS:
            self._on_marker(piece)
        else:
            self._on_text(piece)

    def _drain(self) -> list[ToolEvent]:
        events, self._events = self._events, []
        return events

    def _give_up(self, more: str) -> None:
        """Pass held markup on as content: it became no call."""
        text = self._raw + more
        self._raw = self._header = ""
        if text:
            self._events.append(ContentDelta(text))

    def _on_text(self, text: str) -> None:
        match self._state:
            case _State.CONTENT:
                self._events.append(ContentDelta(text))
            case _State.HEADER:
                self._raw += text
                self._header += text
            case _State.ARGUMENTS:
                self._events.append(ArgumentsDelta(self.calls_started - 1, text))
            case _State.SECTION if text.isspace():
                # White space between calls means nothing; before the first it is held, in case no call follows.
                self._raw += text if self._raw else ""
            case _State.SECTION:
                self._give_up(text)
                self._state = _State.CONTENT

    def _on_marker(self, marker: str) -> None:
        match self._state:
            case _State.CONTENT:
                self._marker_in_content(marker)
            case _State.SECTION:
                self._marker_in_section(marker)
            case _State.HEADER:
                self._marker_in_header(marker)
            case _State.ARGUMENTS:
                self._marker_in_arguments(marker)

    def _marker_in_content(self, marker: str) -> None:
        if marker == SECTION_BEGIN:
            self._raw = marker
            self._state = _State.SECTION
        elif marker == CALL_BEGIN:
            # A model that forgot to open the section still means a call.
            self._open_header(marker)
        else:
            self._events.append(ContentDelta(marker))

    def _marker_in_section(self, marker: str) -> None:
        if marker == CALL_BEGIN:
            self._open_header(self._raw + marker)
        elif marker == SECTION_END:
            self._give_up(marker if self._raw else "")
            self._state = _State.CONTENT
        else:
            self._give_up(marker)
            self._state = _State.CONTENT

    def _marker_in_header(self, marker: str) -> None:
        call_id = self._header.strip()
        match = _CALL_ID.fullmatch(call_id)
        if marker == ARGUMENT_BEGIN and match:
            self._raw = self._header = ""
            self._events.append(CallStarted(self.calls_started, call_id, match["name"]))
            self.calls_started += 1
            self._state = _State.ARGUMENTS
            return
        self._state = _State.CONTENT
        if marker == ARGUMENT_BEGIN:
            self._give_up(marker)
        else:
            # The broken call is content; the marker may open a sound one.
            self._give_up("")
            self._marker_in_content(marker)

    def _marker_in_arguments(self, marker: str) -> None:
        if marker == CALL_END:
            self._state = _State.SECTION
        elif marker == SECTION_END:
            self._state = _State.CONTENT
        elif marker == CALL_BEGIN:
            self._open_header(marker)
        else:
            self._events.append(ArgumentsDelta(self.calls_started - 1, marker))

    def _open_header(self, raw: str) -> None:
        self._raw = raw
        self._header = ""
        self._state = _State.HEADER
