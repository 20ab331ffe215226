"""Puts the replica first whose first event is expected soonest: by the prompts that it has to read before, and how fast it is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from msgspec import Struct

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
from policies.routing.deadlines import Slo
from policies.routing.learned.pace import Pace, shared_pace

# What is predicted so nearly alike is alike: else one replica would get every call of an idle fleet.
ALIKE_FACTOR = 1.1
ALIKE_SECONDS = 0.02


class PredictedTtftSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With a deadline, the replicas that are expected to keep it stay in the order in which they came, before all others."""

    slo: Slo = Slo()


class PredictedTtft:
    """The policy. Those that are about as fast as the fastest are ordered by share of slots in use, ties in turn."""

    def __init__(self, settings: PredictedTtftSettings, pace: Pace) -> None:
        self._slo = settings.slo
        self._pace = pace
        self._turn = 0

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """What it learns, all that predict learn together."""
        return (self._pace,)

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
        """Order by predicted seconds to the first event."""
        count = len(replicas)
        if count <= 1:
            return replicas
        pace = self._pace
        seconds = pace.seconds_to_first(replicas, pace.prompt_tokens(call))
        deadline = self._slo.seconds(call)
        if deadline is not None:
            order = sorted(range(count), key=lambda at: 0.0 if seconds[at] <= deadline else seconds[at])
        else:
            order = self._soonest(replicas, seconds)
        return Ranking(list(map(replicas.__getitem__, order)), list(map(seconds.__getitem__, order)), "seconds")

    def _soonest(self, replicas: Sequence[Replica], seconds: list[float]) -> list[int]:
        self._turn += 1
        order = sorted(range(len(replicas)), key=seconds.__getitem__)
        most = seconds[order[0]] * ALIKE_FACTOR + ALIKE_SECONDS
        if seconds[order[1]] > most:
            return order
        count = bisect_right(order, most, key=seconds.__getitem__)
        alike = sorted(order[:count])
        start = self._turn % count
        alike = [*alike[start:], *alike[:start]]
        alike.sort(key=lambda at: replicas[at].in_flight / replicas[at].max_concurrent)
        return [*alike, *order[count:]]


def _build(settings: PredictedTtftSettings, context: BuildContext) -> RoutingPolicy:
    settings.slo.check(context)
    return PredictedTtft(settings, shared_pace(context))


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("predicted_ttft", PredictedTtftSettings, _build)]
