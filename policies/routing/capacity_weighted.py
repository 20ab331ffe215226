"""Puts the replica first that has the least to do for what it gets done; how much that is, it learns by the prompts' length."""

from __future__ import annotations

import random
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

ALL = 0


class CapacityWeightedSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many replicas are compared for a call: all by default; two, drawn by chance, are nearly as good and cheaper."""

    choices: Annotated[int, Meta(ge=2, le=64)] | None = None


class CapacityWeighted:
    """The policy: calls there with this one, over the tokens a second that the replica gets done with prompts of this length.

    Calls there are those that this gateway has in flight, exactly, and those that others had when the engine was last asked.
    Replicas whose slots the others have taken come last.
    """

    def __init__(self, settings: CapacityWeightedSettings, pace: Pace, chance: random.Random) -> None:
        self._choices = settings.choices or ALL
        self._pace = pace
        self._chance = chance
        self._turn = 0

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """What it learns, all that predict learn together."""
        return (self._pace,)

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
        """Order by effective load; with `choices`, those that were drawn come first and the others stay as they are."""
        count = len(replicas)
        if count <= 1:
            return replicas
        if self._choices and count > self._choices:
            return self._draw(call, replicas)
        self._turn += 1
        start = self._turn % count
        rotated = [*replicas[start:], *replicas[:start]]  # ties are taken in turn
        loads = self._pace.loads(rotated, self._pace.prompt_tokens(call))
        order = sorted(range(count), key=loads.__getitem__)
        return Ranking([rotated[at] for at in order], [loads[at] for at in order], "seconds a token")

    def _draw(self, call: Call, replicas: Sequence[Replica]) -> Ranking:
        drawn = self._chance.sample(range(len(replicas)), self._choices)
        loads = self._pace.loads([replicas[at] for at in drawn], self._pace.prompt_tokens(call))
        first = [at for _, at in sorted(zip(loads, drawn, strict=True))]
        rest = set(drawn)
        names = ", ".join([replicas[at].name for at in first])
        ranked = [replicas[at] for at in first] + [each for at, each in enumerate(replicas) if at not in rest]
        return Ranking(ranked, note=f"drawn: {names}")


def _build(settings: CapacityWeightedSettings, context: BuildContext) -> RoutingPolicy:
    return CapacityWeighted(settings, shared_pace(context), random.Random())  # noqa: S311 - no secret is drawn


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("capacity_weighted", CapacityWeightedSettings, _build)]
