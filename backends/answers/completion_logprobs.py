"""Gives log-probabilities of completions in the form that completions have, where an engine writes them in chat's."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from backends.answers.drafts import Cut, is_null

LOGPROBS_FORM: Final = "logprobs_form"


class _Alternative(Struct, frozen=True):
    token: str
    logprob: float | None = None


class _Token(Struct, frozen=True):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Alternative] | None = None


class _InChatsForm(Struct, frozen=True):
    content: list[_Token] | None


_READ = msgspec.json.Decoder(_InChatsForm).decode


class CompletionLogprobs:
    """The rewriting for one answer; llama.cpp 11434 is an engine that needs it (`tools/server/server-task.cpp`).

    Attributes:
        mark: bytes that are in every tightly written event that needs it.
    """

    __slots__ = ("_ends",)

    mark: Final = b'"logprobs":{"content"'

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}

    def edit(self, choice: Cut, index: int) -> bool:
        """Rewrite those of one choice, or of what a chunk adds to it; say whether they had another form.

        `text_offset` counts characters from the choice's beginning, its earlier chunks included.
        """
        found = choice.get("logprobs")
        if is_null(found) or not isinstance(found, Raw):
            return False
        try:
            tokens = _READ(found).content or []
        except msgspec.DecodeError:  # in the right form, or in none that anyone knows
            return False
        offsets: list[int] = []
        end = self._ends.get(index, 0)
        for each in tokens:
            offsets.append(end)
            end += len(each.token)
        self._ends[index] = end
        choice["logprobs"] = {
            "tokens": [each.token for each in tokens],
            "token_logprobs": [each.logprob for each in tokens],
            "top_logprobs": [_by_token(each.top_logprobs or []) for each in tokens],
            "text_offset": offsets,
        }
        return True


def _by_token(alternatives: list[_Alternative]) -> dict[str, float | None]:
    """Likeliest first; where two tokens read the same, as parts of a character do, the likelier stays."""
    found: dict[str, float | None] = {}
    for each in alternatives:
        found.setdefault(each.token, each.logprob)
    return found
