"""Puts the replicas of the first tier first as long as they have room, then those of the next: own engines, then a hosted API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from gateway import BuildContext, Call, Extension, Ranking, Replica, RoutingPolicy, hookimpl
from gateway.errors import ConfigError
from policies.routing.replica_names import ByReplica, check_names

Tier = Annotated[list[str], Meta(min_length=1)]


class PriorityTiersSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of replicas or of backends, best tier first; what stands in none comes after them, by the replica's own `tier`.

    `saturated_share` is the share of a replica's slots from which on those of the next tier are preferred to it.
    """

    tiers: list[Tier] = []
    saturated_share: Annotated[float, Meta(gt=0, le=1)] = 1.0


class PriorityTiers:
    """The policy. Within a tier its predecessor's order stands; those that are saturated come last, by tier as well."""

    def __init__(self, settings: PriorityTiersSettings) -> None:
        self._last = len(settings.tiers)
        places = {name: place for place, tier in enumerate(settings.tiers) for name in tier}
        self._places: ByReplica[int | None] = ByReplica(places, None)
        self._saturated_share = settings.saturated_share

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:  # noqa: ARG002 - any call alike
        """Order by tier."""
        if len(replicas) <= 1:
            return replicas
        share = self._saturated_share
        tiers = [(_load(each) >= share * each.max_concurrent, self._tier(each)) for each in replicas]
        order = sorted(range(len(replicas)), key=tiers.__getitem__)
        return Ranking([replicas[at] for at in order], [float(tiers[at][1] + 1) for at in order], "tier")

    def _tier(self, replica: Replica) -> int:
        place = self._places.of(replica)
        return self._last + replica.tier if place is None else place


def _load(replica: Replica) -> int:
    """Calls there: ours, or all that the engine told of, if that is more."""
    load = replica.load
    return replica.in_flight if load is None else max(replica.in_flight, (load.running or 0) + (load.waiting or 0))


def _build(settings: PriorityTiersSettings, context: BuildContext) -> RoutingPolicy:
    names = [name for tier in settings.tiers for name in tier]
    check_names(names, context, "tiers")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(*(f"tiers: {name!r} stands in two places" for name in twice))
    return PriorityTiers(settings)


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("priority_tiers", PriorityTiersSettings, _build)]
