"""Drops replicas whose context is too short for a call, prompt and answer together; estimates the prompt and never counts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from gateway import BuildContext, Call, Extension, Ranking, Replica, RoutingPolicy, TokenCounter, hookimpl
from gateway.errors import InvalidRequest

# An estimate may be too high as well as too low; a call is rather sent to an engine that refuses it, which is tried again
# elsewhere, than kept from one that could have served it.
SURE_SHARE = 0.75

# What stands in base64 is an image or the like: its bytes say nothing about its tokens.
_BASE64 = b";base64,"


class ContextFitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to estimate a prompt: by what prompts of this model have come to so far, or by a fixed number of bytes a token.

    `bytes_per_token` is the request's bytes per prompt token; 6 is on the high side for English text in JSON.
    """

    bytes_per_token: Annotated[float, Meta(gt=0)] | None = None


class ContextFit:
    """The policy."""

    def __init__(self, settings: ContextFitSettings, tokens: TokenCounter) -> None:
        self._bytes_per_token = settings.bytes_per_token
        self._tokens = tokens

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
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
        prompt = self._prompt_tokens(call)
        needed = prompt + answer
        shortest = min([replica.context_length for replica in replicas], default=longest)
        if needed <= shortest or _BASE64 in call.body:
            return replicas
        if needed > longest:  # a 503 would have the caller try again for nothing
            raise InvalidRequest(
                f"The request is about {needed} tokens long, but {call.model.name} takes {longest} tokens, "
                "prompt and answer together."
            )
        left = [replica for replica in replicas if needed <= replica.context_length]
        return Ranking(left, reason="context", note=f"prompt and answer need {needed} tokens or more")

    def _prompt_tokens(self, call: Call) -> int:
        """At least so many, as far as can be told."""
        if self._bytes_per_token is not None:
            return int(len(call.body) / self._bytes_per_token)
        return int(self._tokens.estimate(call) * SURE_SHARE)


def _build(settings: ContextFitSettings, context: BuildContext) -> RoutingPolicy:
    return ContextFit(settings, context.tokens)


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("context_fit", ContextFitSettings, _build)]
