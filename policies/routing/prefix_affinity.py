"""Puts a replica first that has read the beginning of this prompt before, if that saves more time than it would wait there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from gateway import (
    BuildContext,
    Call,
    Extension,
    Ranking,
    Replica,
    RoutingObserver,
    RoutingPolicy,
    hookimpl,
)
from policies.routing.learned.pace import Pace, shared_pace
from policies.routing.learned.prefixes import Prefixes


class PrefixAffinitySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is remembered of prompts.

    Attributes:
        most_blocks: places of prompts, some 200 bytes each; those that were not used for longest are forgotten.
        across_tenants: tenants share prefixes. Only where the backends' `cache_salt` is off, else the engines do not.
    """

    most_blocks: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 200_000
    across_tenants: bool = False


class PrefixAffinity:
    """The policy. A call that matches nowhere keeps its predecessor's order, so that a miss goes where there is least to do.

    One that matches goes ahead of the predecessor's first choice only where its first event is expected sooner, with what
    is queued there and without what need not be read again.
    """

    def __init__(self, pace: Pace, prefixes: Prefixes) -> None:
        self._pace = pace
        self._prefixes = prefixes
        pace.cached_share = prefixes.cached_share

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """What was sent where, and how fast that went: the latter first, for it asks what was there before."""
        return (self._pace, self._prefixes)

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
        """Move those ahead that save time."""
        if len(replicas) <= 1:
            return replicas
        first, prefixes = replicas[0], self._prefixes
        longer = prefixes.longer(call, first)
        if not longer:
            return replicas
        candidates = set(replicas)
        compared = [first, *[each for each in longer if each in candidates]]
        shares = [prefixes.cached_share(call, each) for each in compared]
        seconds = self._pace.seconds_to_first(compared, self._pace.prompt_tokens(call), shares)
        least = seconds[0]
        sooner = sorted([at for at, each in enumerate(seconds) if each < least], key=seconds.__getitem__)
        if not sooner:
            return replicas
        ranked = list(replicas)
        for at in reversed(sooner):
            ranked.remove(compared[at])
            ranked.insert(0, compared[at])
        return Ranking(ranked, note=f"{ranked[0].name} holds {shares[sooner[0]]:.0%} of the prompt")


def _build(settings: PrefixAffinitySettings, context: BuildContext) -> RoutingPolicy:
    most, across = settings.most_blocks, settings.across_tenants
    key = ("routing", "prefixes", str(most), str(across))
    return PrefixAffinity(shared_pace(context), context.shared(key, lambda: Prefixes(most, across_tenants=across)))


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("prefix_affinity", PrefixAffinitySettings, _build)]
