"""Reads token counts wherever engines put them; what they do not say stays unknown, which is never zero."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway import Usage


class _Details(Struct, frozen=True):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Counts(Struct, frozen=True):
    """The counts of every dialect.

    Attributes:
        cached_tokens: Moonshot's own API puts it here, beside `prompt_tokens`.
        reasoning_tokens: SGLang puts it here, and writes 0 also where it counts none.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


_COUNTS = msgspec.json.Decoder(_Counts)
_NOTHING = _Details()
_CUT = msgspec.json.Decoder(dict[str, Raw])
_ENCODE = msgspec.json.Encoder().encode


def is_said(usage: Raw) -> bool:
    """Whether a field that may hold usage is there and not null."""
    return bytes(usage) not in {b"", b"null"}


def read_openai(usage: Raw) -> Usage | None:
    """Usage of chat and completions; None if it cannot be read."""
    counts = _counts(usage)
    if counts is None:
        return None
    return _openai(counts)


def _openai(counts: _Counts) -> Usage:
    prompt, completion = counts.prompt_tokens_details or _NOTHING, counts.completion_tokens_details or _NOTHING
    cached, reasoning = prompt.cached_tokens, completion.reasoning_tokens
    if cached is None:
        cached = counts.cached_tokens
    if reasoning is None:
        reasoning = counts.reasoning_tokens or None
    return Usage(
        prompt_tokens=_known(counts.prompt_tokens),
        completion_tokens=_known(counts.completion_tokens),
        cached_tokens=None if cached is None else _known(cached),
        reasoning_tokens=None if reasoning is None else _known(reasoning),
    )


def read_responses(usage: Raw) -> Usage | None:
    """Usage of the Responses API; None if it cannot be read.

    Its schema asks for numbers, so that engines write 0 where they did not count: a zero says nothing here, but that
    nothing was generated for a prompt that was read.
    """
    counts = _counts(usage)
    if counts is None:
        return None
    details, output = counts.input_tokens_details or _NOTHING, counts.output_tokens_details or _NOTHING
    return Usage(
        prompt_tokens=_known(counts.input_tokens or None),
        completion_tokens=_known(counts.output_tokens if counts.input_tokens else counts.output_tokens or None),
        cached_tokens=_known(details.cached_tokens or None),
        reasoning_tokens=_known(output.reasoning_tokens or None),
    )


def read_messages(usage: Raw) -> Usage | None:
    """Usage of the Messages API, whose `input_tokens` leave out what came from a cache or went into one.

    Engines fill in 0 where they do not know, so that a zero says nothing here: no prompt is empty, and an answer that
    ended has at least its end.
    """
    counts = _counts(usage)
    if counts is None:
        return None
    apart = (counts.cache_read_input_tokens or 0) + (counts.cache_creation_input_tokens or 0)
    prompt = (counts.input_tokens or 0) + apart if counts.input_tokens is not None else 0
    return Usage(
        prompt_tokens=_known(prompt or None),
        cached_tokens=_known(counts.cache_read_input_tokens),
        completion_tokens=_known(counts.output_tokens or None),
    )


def read_count(answer: bytes) -> Usage | None:
    """The tokens that a counted or tokenized text has, as its prompt; None if the answer does not say."""
    try:
        found = _COUNT.decode(answer)
    except msgspec.DecodeError:
        return None
    count = _known(_first(found.input_tokens, found.count))
    return Usage(prompt_tokens=count) if count is not None else None


class _Count(Struct, frozen=True):
    input_tokens: int | None = None
    count: int | None = None


_COUNT = msgspec.json.Decoder(_Count)


def latest(old: Usage | None, new: Usage | None) -> Usage | None:
    """What is known after a further usage: the newer count of each class, where it says one."""
    if old is None or new is None:
        return new if new is not None else old
    return Usage(
        prompt_tokens=_first(new.prompt_tokens, old.prompt_tokens),
        cached_tokens=_first(new.cached_tokens, old.cached_tokens),
        completion_tokens=_first(new.completion_tokens, old.completion_tokens),
        reasoning_tokens=_first(new.reasoning_tokens, old.reasoning_tokens),
    )


def in_openai_places(usage: Raw) -> Raw | None:
    """The same usage with the details where OpenAI has them; None if they are there, or nowhere."""
    counts = _counts(usage)
    if counts is None or (counts.cached_tokens is None and not counts.reasoning_tokens):
        return None  # nearly always: what is elsewhere would be in one of these two
    known = _openai(counts)
    prompt, completion = counts.prompt_tokens_details or _NOTHING, counts.completion_tokens_details or _NOTHING
    missing: list[tuple[str, str, int]] = []
    if prompt.cached_tokens is None and known.cached_tokens is not None:
        missing.append(("prompt_tokens_details", "cached_tokens", known.cached_tokens))
    if completion.reasoning_tokens is None and known.reasoning_tokens is not None:
        missing.append(("completion_tokens_details", "reasoning_tokens", known.reasoning_tokens))
    if not missing:
        return None
    fields: dict[str, Any] = dict(_CUT.decode(usage))
    for place, name, count in missing:
        there = bytes(fields.get(place, b"null"))
        fields[place] = {**(_CUT.decode(there) if there != b"null" else {}), name: count}
    return Raw(_ENCODE(fields))


def _counts(usage: Raw) -> _Counts | None:
    try:
        return _COUNTS.decode(usage)
    except msgspec.DecodeError:
        return None


def _first(one: int | None, other: int | None) -> int | None:
    return one if one is not None else other


def _known(count: int | None) -> int | None:
    """A count that can be one."""
    return count if count is not None and count >= 0 else None
