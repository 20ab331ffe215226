"""What one asking came to, a line of `results.jsonl` each: appended as it comes, so that a kill costs only what was under way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import Struct

from gateway.errors import ConfigError
from plugins.experiments.compare.arms import ArmName, Ask

RESULTS = "results.jsonl"


class ToolCall(Struct, frozen=True):
    """A tool call of an answer: the function's name, and its arguments as the engine wrote them."""

    name: str
    arguments: str
    id: str = ""


class Checks(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an answer is held against without another one; None where it does not apply.

    Attributes:
        schema_valid: every tool call fits the schema of a declared tool; of answers that end with `tool_calls`.
        undeclared: names of tools that were called and not declared.
        marker: the first marker of the chat template that stands in the text.
        empty: neither text nor tool call.
        json_valid: the text is JSON (and fits the schema), where JSON was asked for.
        fault: of the first tool call that is not valid, in words.
    """

    schema_valid: bool | None = None
    undeclared: tuple[str, ...] = ()
    marker: str = ""
    empty: bool = False
    json_valid: bool | None = None
    fault: str = ""


class Answer(Struct, kw_only=True, omit_defaults=True):
    """What came back, and when.

    Attributes:
        error: a short name of what went wrong; empty for a whole answer. `detail` says more.
        ttft_seconds: until the first piece of text, reasoning or tool call.
        gaps_seconds: between pieces, in order; a piece may hold several tokens.
        total_seconds: until the last byte.
        tokens: log-probabilities where asked: token, its log-probability, the likeliest token at its place.
        replica, backend, call_id, attempts, transforms: as the gateway's headers tell.
        tries: how often it was asked, because no replica of the arm had a slot free before; times are of the last.
    """

    error: str = ""
    detail: str = ""
    status: int = 0
    ttft_seconds: float | None = None
    gaps_seconds: list[float] = []
    total_seconds: float = 0.0
    finish_reason: str | None = None
    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = []
    tokens: list[tuple[str, float, str]] = []
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    replica: str = ""
    backend: str = ""
    call_id: str = ""
    attempts: int = 0
    tries: int = 1
    transforms: str = ""


class Result(Struct, kw_only=True, omit_defaults=True):
    """One line.

    Attributes:
        number, repeat, copy, arm: the `Ask`.
        call, conversation, reference: of the data.
        greedy, declares_tools: of the body: temperature 0; tools are there.
        started_at: seconds since 1970.
        under_way: calls of this arm that ran when this one started.
    """

    number: int
    repeat: int
    copy: int = 0
    arm: ArmName
    call: str
    conversation: str
    reference: str | None = None
    greedy: bool = False
    declares_tools: bool = False
    started_at: float
    under_way: int = 0
    answer: Answer
    checks: Checks

    @property
    def ask(self) -> Ask:
        """Which asking it is of."""
        return Ask(self.number, self.repeat, self.copy, self.arm)


_DECODER = msgspec.json.Decoder(Result)
_ENCODER = msgspec.json.Encoder()


class ResultLog:
    """Appends results; a line is with the system, whole, before the next asking of its worker starts.

    Raises:
        ConfigError: another run writes there.
    """

    def __init__(self, folder: Path) -> None:
        self._file = (folder / RESULTS).open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ConfigError(f"{folder}: another run writes there") from error
        _cut_torn_line(self._file.fileno())

    def add(self, result: Result) -> None:
        """Append one line."""
        self._file.write(_ENCODER.encode(result) + b"\n")

    def __enter__(self) -> Self:
        """As it is."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """To the disk, and closed."""
        os.fsync(self._file.fileno())
        self._file.close()


def _cut_torn_line(file: int) -> None:
    """A kill may have left half a line; it is asked again."""
    end = os.fstat(file).st_size
    keep = end
    while keep:
        start = max(keep - 65536, 0)
        at = os.pread(file, keep - start, start).rfind(b"\n")
        if at >= 0:
            keep = start + at + 1
            break
        keep = start
    if keep < end:
        os.ftruncate(file, keep)


def read_results(folder: Path) -> Iterator[tuple[int, Result]]:
    """Each result with where its line begins; half a line at the end is left out, as are second results of one asking.

    Raises:
        ConfigError: there are none, or a line in the middle is damaged.
    """
    file = folder / RESULTS
    seen: set[Ask] = set()
    try:
        with file.open("rb") as stream:
            start = 0
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    result = _DECODER.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise ConfigError(f"{file}:{number}: no result: {error}") from error
                if result.ask not in seen:
                    seen.add(result.ask)
                    yield start, result
                start += len(line)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error


def read_result(folder: Path, start: int) -> Result:
    """The result whose line begins there."""
    with (folder / RESULTS).open("rb") as stream:
        stream.seek(start)
        return _DECODER.decode(stream.readline())


def tool_calls_as_data(calls: list[ToolCall]) -> list[dict[str, Any]]:
    """Tool calls without their ids, which engines make up, and with arguments as values: for comparing."""
    found = []
    for each in calls:
        try:
            arguments: Any = msgspec.json.decode(each.arguments)
        except (msgspec.DecodeError, UnicodeDecodeError):
            arguments = each.arguments
        found.append({"name": each.name, "arguments": arguments})
    return found
