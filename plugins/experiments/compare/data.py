"""Reads the calls that are to be compared: finds every fault of a file with its line, and keeps places, not bodies.

Three kinds of lines, told apart by their keys, each a JSON object:

- a chat body (`messages`, and whatever else the API takes), as OpenAI's clients and K2-Vendor-Verifier's `samples.jsonl` have it;
  `id` (or `name`) and `conversation` beside it are ours and are not sent;
- ours: `{"id", "conversation", "finish_reason", "body": {…}}`, all but `body` optional;
- K2-Vendor-Verifier's `results.jsonl`: `{"request": {…}, "finish_reason", …}`; the finish reason becomes the reference for F1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
from msgspec import Struct

from gateway.errors import ConfigError
from plugins.experiments.compare.built_in import BUILT_IN, built_in_calls

MOST_LINE_BYTES = 16 * 1024 * 1024
MOST_CALLS = 1_000_000
MOST_FAULTS = 20
_OURS = ("id", "name", "conversation")

Json = dict[str, Any]


class BadLine(Exception):
    """A line that is no call; the text says why."""


class CallData(Struct, frozen=True, kw_only=True):
    """One call to ask of each arm.

    Attributes:
        id: unique within its data.
        conversation: what it is of; calls of one conversation are not independent. Its id where nothing is said.
        body: of `/v1/chat/completions`, without `model` and `stream`.
        reference: the finish reason of a trusted run of this call, if one is known.
    """

    id: str
    conversation: str
    body: Json
    reference: str | None = None


class CallSource(Protocol):
    """Calls by their number; `digest` tells whether they are the same calls as last time."""

    name: str
    digest: str

    def __len__(self) -> int:
        """How many there are."""

    def call(self, number: int) -> CallData:
        """One of them, from 0 on."""


class BuiltIn:
    """The calls that come with moegate: chat, arithmetic and tools, in the words of the lab's k2-tiny."""

    def __init__(self) -> None:
        self.name = BUILT_IN
        self._calls = [
            CallData(id=name, conversation=name, body=body, reference=reference)
            for name, body, reference in built_in_calls()
        ]
        self.digest = hashlib.sha256(msgspec.json.encode(self._calls)).hexdigest()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._calls)

    def call(self, number: int) -> CallData:
        """One of them."""
        return self._calls[number]


class CallFile:
    """A file of calls: one pass finds its faults and where each line begins; a body is read when it is asked for.

    Raises:
        ConfigError: with the first faults, each with the file's name and the line.
    """

    def __init__(self, file: Path) -> None:
        self.name = str(file)
        self._file = file
        self._places: list[tuple[int, int, int]] = []
        digest = hashlib.sha256()
        faults: list[str] = []
        seen: dict[str, int] = {}
        try:
            with file.open("rb") as stream:
                for number, start, line in _lines(stream):
                    digest.update(line)
                    if line.strip() and (fault := self._take(number, start, line, seen)):
                        faults.append(f"{file}:{number}: {fault}")
                    if len(faults) >= MOST_FAULTS:
                        break
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
        if faults:
            raise ConfigError(*faults)
        if not self._places:
            raise ConfigError(f"{file}: holds no call")
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def call(self, number: int) -> CallData:
        """One of them.

        Raises:
            ConfigError: the file is not what it was when it was read.
        """
        line_number, start, length = self._places[number]
        try:
            with self._file.open("rb") as stream:
                stream.seek(start)
                return read_line(stream.read(length), line_number)
        except (OSError, BadLine) as error:
            raise ConfigError(f"{self.name}:{line_number}: the file has changed: {error}") from error

    def _take(self, number: int, start: int, line: bytes, seen: dict[str, int]) -> str | None:
        """Keep a line's place; its fault if it has one."""
        if len(line) > MOST_LINE_BYTES:
            return f"longer than {MOST_LINE_BYTES} bytes"
        try:
            call = read_line(line, number)
        except BadLine as fault:
            return str(fault)
        if call.id in seen:
            return f"repeats the id {call.id!r} of line {seen[call.id]}"
        if len(seen) >= MOST_CALLS:
            return f"more than {MOST_CALLS} calls"
        seen[call.id] = number
        self._places.append((number, start, len(line)))
        return None


def open_calls(data: str) -> CallSource:
    """A file by its path, or the built-in calls by their name."""
    return BuiltIn() if data == BUILT_IN else CallFile(Path(data))


def _lines(stream: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Number, start and bytes of each line; of one that is too long, only what shows that."""
    number = start = 0
    while line := stream.readline(MOST_LINE_BYTES + 1):
        number += 1
        yield number, start, line
        start += len(line)


def read_line(line: bytes, number: int) -> CallData:
    """Read one line.

    Raises:
        BadLine: it is no call; the message says why.
    """
    try:
        read = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadLine(f"no JSON: {error}") from error
    if not isinstance(read, dict):
        raise BadLine("not an object")
    outer, body = _parts(read)
    identity = _text(outer, "id") or _text(outer, "name") or f"line-{number}"
    return CallData(
        id=identity,
        conversation=_text(outer, "conversation") or identity,
        body=_checked(body),
        reference=_text(outer, "finish_reason"),
    )


def _parts(read: Json) -> tuple[Json, Any]:
    """What stands about the call, and its body."""
    for key in ("body", "request"):
        if key in read and "messages" not in read:
            return read, read[key]
    if "messages" not in read:
        raise BadLine("has none of `messages`, `body` and `request`")
    return {key: read[key] for key in _OURS if key in read}, {k: v for k, v in read.items() if k not in _OURS}


def _text(outer: Json, key: str) -> str | None:
    value = outer.get(key)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and key in _OURS:
        return str(value)
    raise BadLine(f"`{key}` is not text")


def _checked(body: Any) -> Json:
    """A body that can be asked; what compare decides itself is left out."""
    if not isinstance(body, dict):
        raise BadLine("the body is not an object")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadLine("`messages` is not a list with something in it")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadLine(f"`messages[{place}]` has no role")
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise BadLine("`tools` is not a list")
    for place, tool in enumerate(tools or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadLine(f"`tools[{place}]` has no function with a name")
    # K2-Vendor-Verifier's samples write `_input` for what its own program sends as `system`.
    renamed = [{**each, "role": "system"} if each["role"] == "_input" else each for each in messages]
    decided = ("model", "stream", "stream_options", "messages")
    return {"messages": renamed, **{key: value for key, value in body.items() if key not in decided}}
