"""What replicas said, in one shape for all engines; plain data, frozen, that judges nothing."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Token(Struct, frozen=True):
    """One generated token, as far as the engine tells it.

    Attributes:
        id: its number in the vocabulary; None where the engine does not say.
        text: its text; None where it is part of a character, which engines write in different ways.
        logprob: its log-probability, natural logarithm.
        alternatives: per text of the likeliest tokens in its place, their log-probabilities; usually it is among them.
        alternatives_by_id: the same per id, where the engine tells ids of those too.
    """

    id: int | None = None
    text: str | None = None
    logprob: float | None = None
    alternatives: Mapping[str, float] = {}
    alternatives_by_id: Mapping[int, float] = {}


class Continuation(Struct, frozen=True):
    """What an engine wrote, greedily. `stopped` says that the model ended it and not the limit."""

    tokens: tuple[Token, ...]
    stopped: bool


class PromptTokens(Struct, frozen=True):
    """Into how many tokens, and which, an engine cut a prompt.

    Attributes:
        reason: why nothing is known, where nothing is.
        refused: it did not answer.
    """

    count: int | None = None
    ids: tuple[int, ...] | None = None
    reason: str = ""
    refused: bool = False


class Place(Struct, frozen=True):
    """One place in a text that is the same for both up to here, and what each writes next; None where it ends."""

    index: int
    reference: Token | None
    candidate: Token | None


class Followed(Struct, frozen=True):
    """A replica led along the reference's continuation of one prompt.

    Attributes:
        places: in the order of the text; a replica that wrote something else was put back on the reference's way.
        by_ids: the prompt was given as the reference's token ids, so that tokenizer and template play no part.
        reason: why there are no places, where there are none.
    """

    prompt: str
    places: tuple[Place, ...] = ()
    by_ids: bool = False
    reason: str = ""


class Identity(Struct, frozen=True):
    """What an engine says that it is.

    Attributes:
        served: the model names that it lists; None where it lists none.
        told: facts by their name.
    """

    served: tuple[str, ...] | None = None
    told: Mapping[str, str] = {}


class Evidence(Struct, frozen=True):
    """All that one replica said; prompts by their names: plain texts, conversations, and those that declare tools."""

    identity: Identity
    texts: Mapping[str, PromptTokens]
    chats: Mapping[str, PromptTokens]
    with_tools: Mapping[str, PromptTokens]

    @property
    def cuts(self) -> dict[str, PromptTokens]:
        """Those of all prompts."""
        return {**self.texts, **self.chats, **self.with_tools}
