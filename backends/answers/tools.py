"""What a call's request says of its tools, and the ids that new tool calls get; reads no answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import msgspec
from msgspec import Struct

from backends.sent import Sent
from gateway import Call

# Names of transforms, for `x-moegate-transforms`.
TOOL_IDS: Final = "tool_ids"
TOOL_LEAK: Final = "tool_leak"
TOOL_REPAIR: Final = "tool_repair"
FINISH_REASON: Final = "finish_reason"


class _Function(Struct, frozen=True):
    name: Any = None


class _Tool(Struct, frozen=True):
    """A tool of any API: OpenAI's chat nests the name, Anthropic's messages and OpenAI's responses do not."""

    name: Any = None
    function: _Function | None = None


_TOOLS = msgspec.json.Decoder(list[_Tool] | None)
_NOT_IN_ANTHROPIC_IDS = re.compile(r"[^a-zA-Z0-9_-]")


class AskedTools:
    """The tools of one call; read only once an answer gives reason to."""

    def __init__(self, call: Call) -> None:
        self._fields = call.fields

    @cached_property
    def names(self) -> frozenset[str]:
        """The tools that the model may call."""
        try:
            tools = _TOOLS.decode(self._fields.get("tools", b"null")) or []
        except msgspec.DecodeError:
            return frozenset()
        named = (tool.function.name if tool.function is not None else tool.name for tool in tools)
        return frozenset(name for name in named if isinstance(name, str))

    @cached_property
    def _choice(self) -> bytes:
        return bytes(self._fields.get("tool_choice", b"")).strip()

    @property
    def choice_is_named(self) -> bool:
        """Whether the client named the one function to call: then OpenAI ends with "stop", not with "tool_calls"."""
        return self._choice.startswith(b"{") and b'"allowed_tools"' not in self._choice

    def accepts(self, name: str) -> bool:
        """Whether text may be mended into a call of this tool: it is declared, and the client wants calls at all.

        A call of anything else would be one that the client cannot answer, so its text stays text.
        """
        return name in self.names and self._choice not in {b'"none"', b'{"type":"none"}', b'{"type": "none"}'}


def openai_id(name: str, index: int) -> str:
    """A tool call's id in Kimi's own form, whose index counts over the whole conversation."""
    return f"functions.{name}:{index}"


def anthropic_id(name: str, index: int) -> str:
    """The same where ids may hold only `a-zA-Z0-9_-`, as Anthropic has it."""
    return anthropic_safe(f"functions_{name}_{index}")


def anthropic_safe(native: str) -> str:
    """An engine's id with what Anthropic's ids cannot hold replaced."""
    return _NOT_IN_ANTHROPIC_IDS.sub("_", native)


class CallIds:
    """Gives ids to the new calls of one choice, in order.

    An id by which the client knows a call of the history is never given again, even where a model counts from 0 anew.

    Args:
        sent: what was sent; without it the conversation's calls are not known, and ids stay as engines write them.
    """

    __slots__ = ("_next", "_sent", "_spell", "_taken")

    def __init__(self, sent: Sent | None, spell: Callable[[str, int], str]) -> None:
        self._sent = sent
        self._spell = spell
        self._next = sent.next_call_index if sent is not None else 0
        self._taken = frozenset(sent.client_call_ids.values()) if sent is not None else frozenset[str]()

    def take(self, name: str, native: str | None) -> str:
        """The id of the next call; `native` is the engine's, None where it gave none."""
        if self._sent is None and native:
            self._next += 1
            return native
        while (spelt := self._spell(name, self._next)) in self._taken:
            self._next += 1
        self._next += 1
        return spelt
