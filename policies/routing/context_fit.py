"""Drops replicas whose context is too short for a call; estimates the prompt from its bytes and never counts tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from gateway import BuildContext, Call, Extension, Replica, RoutingPolicy, hookimpl
from gateway.errors import InvalidRequest


class ContextFitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to estimate a prompt.

    `bytes_per_token` is the request's bytes per prompt token. The default is on the high side of what Kimi's tokenizer
    reaches on English text, JSON punctuation included, so that a call is rather sent to an engine that refuses it than
    kept from one that could have served it.
    """

    bytes_per_token: Annotated[float, Meta(gt=0)] = 6.0


class ContextFit:
    """The policy."""

    def __init__(self, settings: ContextFitSettings) -> None:
        self._bytes_per_token = settings.bytes_per_token

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Keep the replicas that can take prompt and answer together.

        Raises:
            InvalidRequest: the call is longer than the model's checkpoint could ever take.
        """
        answer = call.max_tokens or 1
        longest = call.model.checkpoint.context_length
        if answer > longest:
            raise InvalidRequest(
                f"max_tokens is {answer}, but {call.model.name} takes {longest} tokens, prompt and answer together.",
                param="max_tokens",
            )
        needed = int(len(call.body) / self._bytes_per_token) + answer
        if all(needed <= replica.context_length for replica in replicas):
            return replicas
        if needed > longest:  # a 503 would have the caller try again for nothing
            raise InvalidRequest(
                f"The request is about {needed} tokens long, but {call.model.name} takes {longest} tokens, "
                "prompt and answer together."
            )
        return [replica for replica in replicas if needed <= replica.context_length]


def _build(settings: ContextFitSettings, _: BuildContext) -> RoutingPolicy:
    return ContextFit(settings)


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("context_fit", ContextFitSettings, _build)]
