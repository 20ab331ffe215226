"""The tool calls of one choice, in order: which index and id the client sees each under; looks at no text."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from backends.answers.drafts import Cut, cut
from backends.answers.tool_leaks import STEM, LeakedCall, name_in
from backends.answers.tools import TOOL_IDS, TOOL_LEAK, TOOL_REPAIR, AskedTools, CallIds
from backends.answers.wire import ToolCall


class _Begun(NamedTuple):
    """A call of the engine's own: the index and id that the client sees, and the id that the engine gave it."""

    place: int
    identity: str | None
    native: str | None


class ChoiceCalls:
    """Calls that an engine made, and calls found in its text, as one list.

    Args:
        asked: what the request says of tools.
        ids: gives ids to this choice's calls.
        note: takes the name of a transform.

    Attributes:
        made: calls that the client has seen begin.
        found: how many of them the engine left in its text.
    """

    __slots__ = ("_asked", "_ids", "_note", "_places", "found", "made")

    def __init__(self, asked: AskedTools, ids: CallIds, note: Callable[[str], None]) -> None:
        self._asked, self._ids, self._note = asked, ids, note
        self._places: dict[int, _Begun] = {}
        self.made = 0
        self.found = 0

    @property
    def moved(self) -> bool:
        """Whether the engine's next pieces of a call stand under another index than the client's."""
        return any(index != begun.place for index, begun in self._places.items())

    def add(self, call: LeakedCall) -> Cut:
        """A call found in text, as a stream's delta has it."""
        self._note(TOOL_REPAIR)
        place, self.made, self.found = self.made, self.made + 1, self.found + 1
        return {
            "index": place,
            "id": self._ids.take(call.name, None),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }

    def edit(self, call: Cut, read: ToolCall, position: int) -> bool:
        """Edit a call of the engine's own, or a piece of one; say whether anything changed.

        Args:
            call: the call, cut at its top.
            read: the same, decoded.
            position: where it stands in its list, for calls without an index.
        """
        at = read.index if read.index is not None else position
        begun = self._places.get(at)
        name = read.function.name if read.function is not None else None
        name = name if isinstance(name, str) else ""
        native = read.id if isinstance(read.id, str) and read.id else None
        changed = False
        if (name or native) and (begun is None or (name and native not in {None, begun.native})):
            identity, changed = self._begin(call, name, native)
            begun = self._places[at] = _Begun(self.made, identity, native)
            self.made += 1
        elif begun is not None and native is not None and native != begun.identity:
            call["id"] = begun.identity
            changed = True
        if begun is not None and read.index is not None and begun.place != at:
            call["index"] = begun.place
            changed = True
        return changed

    def _begin(self, call: Cut, name: str, native: str | None) -> tuple[str | None, bool]:
        """A call begins: mend its name and give it its id. Returns the id, and whether anything changed."""
        if not name:  # an id alone: there is nothing to make another of
            return native, False
        right = self._right_name(name)
        if right != name:
            call["function"] = {**cut(call["function"]), "name": right}
        identity = self._ids.take(right, native)
        if identity != native:
            call["id"] = identity
            self._note(TOOL_IDS)
        return identity, right != name or identity != native

    def _right_name(self, name: str) -> str:
        """A tool's name without what a parser left around it."""
        if name in self._asked.names:
            return name
        leaked = STEM in name
        if leaked:
            self._note(TOOL_LEAK)
        mended = name_in(name, self._asked.accepts) if leaked or name.startswith("functions.") else None
        if mended is None:
            return name
        self._note(TOOL_REPAIR)
        return mended
