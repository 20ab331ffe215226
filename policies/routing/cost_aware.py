"""Puts the cheapest replica first among those that are expected to answer in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from gateway import (
    BuildContext,
    Call,
    Extension,
    Prices,
    Ranking,
    Replica,
    RoutingObserver,
    RoutingPolicy,
    Usage,
    hookimpl,
)
from gateway.errors import ConfigError
from policies.routing.deadlines import Slo
from policies.routing.learned.pace import Pace, shared_pace
from policies.routing.replica_names import ByReplica, check_names

FREE = Prices(input=0.0, output=0.0)


class CostAwareSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens cost, by the name of a replica or of a backend; nothing where no price is given.

    With `slo`, replicas that are expected to answer later than that come after those that are not, soonest first.
    """

    prices: dict[str, Prices]
    slo: Slo = Slo()


class CostAware:
    """The policy. Where costs are equal, its predecessor's order stands."""

    def __init__(self, settings: CostAwareSettings, pace: Pace) -> None:
        self._prices: ByReplica[Prices] = ByReplica(settings.prices, FREE)
        self._slo = settings.slo
        self._pace = pace

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """What it learns, all that predict learn together."""
        return (self._pace,)

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
        """Order by what the call will cost, as far as its length can be told."""
        count = len(replicas)
        if count <= 1:
            return replicas
        tokens = self._pace.prompt_tokens(call)
        usage = Usage(prompt_tokens=tokens, completion_tokens=self._pace.output_tokens(call))
        costs: dict[int, int] = {}
        nanos = []
        for replica in replicas:
            prices = self._prices.of(replica)
            if id(prices) not in costs:
                costs[id(prices)] = prices.cost_nanos(usage)
            nanos.append(costs[id(prices)])
        late = self._late(call, replicas, tokens)
        order = sorted(range(count), key=lambda at: (late[at], nanos[at]))
        return Ranking([replicas[at] for at in order], [float(nanos[at]) for at in order], "nanos")

    def _late(self, call: Call, replicas: Sequence[Replica], tokens: int) -> list[float]:
        """Per replica, 0 if it will answer in time, else in how many seconds it will."""
        deadline = self._slo.seconds(call)
        if deadline is None:
            return [0.0] * len(replicas)
        seconds = self._pace.seconds_to_first(replicas, tokens)
        return [0.0 if each <= deadline else each for each in seconds]


def _build(settings: CostAwareSettings, context: BuildContext) -> RoutingPolicy:
    check_names(settings.prices, context, "prices")
    currencies = {prices.currency for prices in settings.prices.values()}
    if len(currencies) > 1:
        raise ConfigError(f"prices: cannot compare {' with '.join(sorted(currencies))}")
    settings.slo.check(context)
    return CostAware(settings, shared_pace(context))


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("cost_aware", CostAwareSettings, _build)]
