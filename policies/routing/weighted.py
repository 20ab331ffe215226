"""Puts replicas first as often as their weights say, by chance; for a canary, or a split that somebody decided on."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from gateway import BuildContext, Call, Extension, Ranking, Replica, RoutingPolicy, hookimpl
from policies.routing.replica_names import ByReplica, check_names

Weight = Annotated[float, Meta(ge=0, le=1_000_000)]


class WeightedSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights by the name of a replica or of a backend; where none is given, the replica's own. 0 is a last resort."""

    weights: dict[str, Weight] = {}


class Weighted:
    """The policy: an order drawn by weight, as if one replica after the other were drawn from those that are left."""

    def __init__(self, settings: WeightedSettings, chance: random.Random) -> None:
        self._weights: ByReplica[float | None] = ByReplica(settings.weights, None)
        self._chance = chance

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:  # noqa: ARG002 - any call alike
        """Draw an order; each replica is first in proportion to its weight."""
        if len(replicas) <= 1:
            return replicas
        said = [self._weights.of(replica) for replica in replicas]
        weights = [each.weight if own is None else own for own, each in zip(said, replicas, strict=True)]
        # The smallest of exponentially distributed numbers is each one's in proportion to its rate.
        drawn = [-math.log(1.0 - self._chance.random()) / weight if weight else math.inf for weight in weights]
        order = sorted(range(len(replicas)), key=drawn.__getitem__)
        return Ranking([replicas[at] for at in order], [weights[at] for at in order], "weight")


def _build(settings: WeightedSettings, context: BuildContext) -> RoutingPolicy:
    check_names(settings.weights, context, "weights")
    return Weighted(settings, random.Random())  # noqa: S311 - no secret is drawn


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("weighted", WeightedSettings, _build)]
