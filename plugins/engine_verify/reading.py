"""Reads engines' answers into evidence, in whichever of their shapes they come; no I/O, and what is not there stays None."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from plugins.engine_verify.evidence import Continuation, PromptTokens, Token

# How engines write a token that is a part of a character: as a replacement character, as bytes, or as nothing.
_REPLACEMENT = "\ufffd"
_BYTES_PREFIX = "bytes:"
_MAX_FACT = 200


class Unreadable(Exception):
    """The answer is not JSON of the expected kind."""


class _Listed(Struct, frozen=True):
    token: str
    logprob: float | None = None
    id: int | None = None


class _ListedToken(_Listed, frozen=True):
    top_logprobs: list[_Listed] | None = None


class _Logprobs(Struct, frozen=True):
    """Chat lists `content`; plain completions list the rest, except llama.cpp's, which list `content` as well."""

    content: list[_ListedToken] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(Struct, frozen=True):
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    response_token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(Struct, frozen=True):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    prompt_token_ids: list[int] | None = None


_Scored = tuple[float | None, int, str | None]
"""SGLang's own: a log-probability, the token's id, and its text if that was asked for."""


class _Finish(Struct, frozen=True):
    type: str | None = None


class _Meta(Struct, frozen=True):
    output_token_logprobs: list[_Scored]
    output_top_logprobs: list[list[_Scored] | None] | None = None
    finish_reason: _Finish | None = None


class _Generated(Struct, frozen=True):
    meta_info: _Meta


class _Piece(Struct, frozen=True):
    id: int


class _Tokenized(Struct, frozen=True):
    tokens: list[int | _Piece]


class _Card(Struct, frozen=True):
    id: str


class _Cards(Struct, frozen=True):
    data: list[_Card]


_ANSWER = msgspec.json.Decoder(_Answer)
_GENERATED = msgspec.json.Decoder(_Generated)
_TOKENIZED = msgspec.json.Decoder(_Tokenized)
_CARDS = msgspec.json.Decoder(_Cards)


def prompt_tokens(body: bytes) -> PromptTokens:
    """Read how a prompt was cut from an answer to it.

    Raises:
        Unreadable: see there.
    """
    answer = _decode(_ANSWER, body)
    ids = answer.prompt_token_ids
    if ids is None and answer.choices:
        ids = answer.choices[0].prompt_token_ids
    count = answer.usage.prompt_tokens if answer.usage is not None else None
    if ids is None:
        return PromptTokens(count, None, "" if count is not None else "the engine reports no usage")
    return PromptTokens(len(ids) if count is None else count, tuple(ids))


def tokenized(body: bytes) -> tuple[int, ...]:
    """Read the ids of an answer to `tokenize`.

    Raises:
        Unreadable: see there.
    """
    return tuple(each if isinstance(each, int) else each.id for each in _decode(_TOKENIZED, body).tokens)


def continuation(body: bytes) -> Continuation:
    """Read what was generated, token by token.

    Raises:
        Unreadable: see there; or the answer has no choice, or no log-probabilities.
    """
    answer = _decode(_ANSWER, body)
    if not answer.choices:
        raise Unreadable("the answer holds no choice")
    choice = answer.choices[0]
    tokens = _listed(choice.logprobs) if choice.logprobs is not None else None
    if tokens is None:
        raise Unreadable("the engine lists no log-probabilities")
    written = answer.usage.completion_tokens if answer.usage is not None else None
    # The token that ends an answer is counted by some and listed by others; more than that is a list with holes.
    if written is not None and len(tokens) < written - 1:
        raise Unreadable(f"the engine lists the log-probabilities of {len(tokens)} of {written} tokens")
    ids = choice.token_ids if choice.token_ids is not None else choice.response_token_ids
    if ids is not None and len(ids) == len(tokens):
        tokens = [msgspec.structs.replace(token, id=number) for token, number in zip(tokens, ids, strict=True)]
    return Continuation(tuple(tokens), _is_end(choice.finish_reason))


def generated(body: bytes) -> Continuation:
    """Read what was generated, from an answer in SGLang's own shape.

    Raises:
        Unreadable: see there.
    """
    meta = _decode(_GENERATED, body).meta_info
    tops = meta.output_top_logprobs or []
    tokens = [
        Token(
            number,
            _clear(text or ""),
            logprob,
            {},
            {
                other: score
                for score, other, _ in (tops[index] if index < len(tops) else None) or ()
                if score is not None
            },
        )
        for index, (logprob, number, text) in enumerate(meta.output_token_logprobs)
    ]
    return Continuation(tuple(tokens), _is_end(meta.finish_reason.type if meta.finish_reason is not None else None))


def _is_end(finish_reason: str | None) -> bool:
    """Whether the model itself ended the answer."""
    return finish_reason not in (None, "length", "abort")


def served_names(body: bytes) -> tuple[str, ...]:
    """Read the names of a list of models.

    Raises:
        Unreadable: see there.
    """
    return tuple(card.id for card in _decode(_CARDS, body).data)


def fact(body: bytes, field: str) -> str | None:
    """Read one field of an answer; None where it is missing or is no plain value."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for key in field.split("."):
        if isinstance(value, list):
            value = value[int(key)] if key.isdigit() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return str(value)[:_MAX_FACT] if isinstance(value, str | int | float) and value != "" else None


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("the answer cannot be read") from error


def _listed(found: _Logprobs) -> list[Token] | None:
    if found.content is not None:
        return [
            Token(
                entry.id,
                _clear(entry.token),
                entry.logprob,
                _alternatives({each.token: each.logprob for each in entry.top_logprobs or ()}),
                {
                    each.id: each.logprob
                    for each in entry.top_logprobs or ()
                    if each.id is not None and each.logprob is not None
                },
            )
            for entry in found.content
        ]
    if found.tokens is None:
        return None
    logprobs = found.token_logprobs or []
    tops = found.top_logprobs or []
    return [
        Token(
            None,
            _clear(text),
            logprobs[index] if index < len(logprobs) else None,
            _alternatives((tops[index] if index < len(tops) else None) or {}),
        )
        for index, text in enumerate(found.tokens)
    ]


def _alternatives(found: dict[str, float] | dict[str, float | None]) -> dict[str, float]:
    return {text: logprob for text, logprob in found.items() if logprob is not None and _clear(text) is not None}


def _clear(text: str) -> str | None:
    """A token's text; None for part of a character, which no two engines write alike."""
    return None if not text or _REPLACEMENT in text or text.startswith(_BYTES_PREFIX) else text
