"""What an engine tells of itself beyond its answers, and how it is asked to: data for whoever compares what engines serve."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct


class FactName(StrEnum):
    """What is worth knowing of an engine. `LOADED` is the repository id or the path that it took its weights from."""

    VERSION = "version"
    LOADED = "loaded"
    REVISION = "revision"
    PRECISION = "precision"


class Fact(Struct, frozen=True):
    """Where an engine tells something: a path to GET, and the field of its JSON answer.

    Attributes:
        field: keys and list indices with dots between, such as `data.0.root`.
    """

    name: FactName
    path: str
    field: str


class NativeContinuation(Struct, frozen=True, kw_only=True):
    """An engine's own way to continue token ids, for engines whose OpenAI API does not tell ids and log-probabilities.

    Its answer is SGLang's: `meta_info` with `output_token_logprobs`, `output_top_logprobs` and `finish_reason`.

    Attributes:
        ids_field, limit_field: where the prompt's ids and the number of tokens to write go; keys with dots between.
        fields: the rest of the request: greedy, and with log-probabilities.
    """

    path: str
    ids_field: str
    limit_field: str
    fields: Mapping[str, Any]


class Introspection(Struct, frozen=True, kw_only=True):
    """What one kind of engine tells of itself.

    Attributes:
        models_path: a GET that lists the served names in OpenAI's shape; None if there is none.
        facts: what else it tells, and where.
        answer_fields: fields that, added to a request, make the engine list token ids in its answer, or make the answer
            independent of what it answered before.
        tokenizes_chats: its `tokenize` operation takes messages and tools, and renders them as its chat does.
        continues: see `NativeContinuation`; None where plain completions do.
        is_reference: its numbers are the ones that others are compared with.
    """

    models_path: str | None = "/v1/models"
    facts: tuple[Fact, ...] = ()
    answer_fields: Mapping[str, Any] = {}
    tokenizes_chats: bool = False
    continues: NativeContinuation | None = None
    is_reference: bool = False


@runtime_checkable
class Introspective(Protocol):
    """A backend that says more than the default of `Introspection`; it need not."""

    @property
    def introspection(self) -> Introspection:
        """What this kind of engine tells of itself."""
