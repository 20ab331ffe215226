"""What is asked: made-up prompts of a length, or the calls of a file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ConfigError
from plugins.bench.plan import Plan

Json = dict[str, Any]

MOST_FILE_BYTES = 256 * 1024 * 1024
# Common short words are one token each in most vocabularies, with the blank before them.
_WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "they",
    "be",
    "at",
    "one",
    "have",
    "this",
    "from",
    "by",
    "hot",
    "word",
    "but",
    "what",
    "some",
    "we",
    "can",
    "out",
    "other",
    "were",
    "all",
    "there",
    "when",
    "up",
    "use",
    "your",
    "how",
    "said",
    "each",
    "she",
    "which",
    "do",
    "their",
    "time",
    "if",
    "will",
    "way",
    "about",
]
_SHARED_SEED = 0


class Prompts:
    """Bodies of calls, one after another without end.

    Args:
        plan: what they are to be like.
        file: JSON lines, each a call's body or what holds one as `body`; None for prompts that are made up.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, plan: Plan, file: Path | None) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)  # noqa: S311 - nothing secret comes of it
        self._shared = self._words(random.Random(_SHARED_SEED), plan.prompt_tokens)  # noqa: S311
        self._bodies = _read(file) if file is not None else []
        self._next = 0

    def next(self) -> bytes:
        """The next call's body, as JSON."""
        plan = self._plan
        if self._bodies:
            body = dict(self._bodies[self._next % len(self._bodies)])
            self._next += 1
            body.setdefault("max_tokens", plan.max_tokens)
        else:
            body = {"messages": [{"role": "user", "content": self._text()}], "max_tokens": plan.max_tokens}
        body |= {"model": plan.model, "stream": plan.stream}
        if plan.stream:
            body["stream_options"] = {"include_usage": True}
        else:
            body.pop("stream_options", None)
        return msgspec.json.encode(body)

    def _text(self) -> str:
        """A prompt. Its first words are its own: a cache of prefixes would otherwise answer for the engine."""
        if self._plan.shared_prefix:
            return f"{self._shared} {self._random.getrandbits(64):x}"
        return self._words(self._random, self._plan.prompt_tokens)

    @staticmethod
    def _words(source: random.Random, count: int) -> str:
        return " ".join(source.choices(_WORDS, k=count))


def _read(file: Path) -> list[Json]:
    bodies: list[Json] = []
    try:
        if file.stat().st_size > MOST_FILE_BYTES:
            raise ConfigError(f"--prompts: {file} has more than {MOST_FILE_BYTES // 2**20} MiB")
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"--prompts: {file} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            bodies.append(_body(line, f"--prompts: {file}, line {number}"))
    if not bodies:
        raise ConfigError(f"--prompts: {file} holds no call")
    return bodies


def _body(line: bytes, where: str) -> Json:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: not JSON: {error}") from error
    body = found.get("body", found) if isinstance(found, dict) else None
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise ConfigError(f"{where}: not a chat's body: an object with `messages`, or one that holds it as `body`")
    return body
