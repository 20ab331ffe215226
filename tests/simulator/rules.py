"""What is compared: the real policies, and the rules of other routers written anew from their documents."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway import Call, Replica
from gateway.contracts.policy import RoutingPolicy
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.plugin_manager import DEFAULT_ROUTING
from policies.routing.capacity_weighted import CapacityWeighted, CapacityWeightedSettings
from policies.routing.context_fit import ContextFit, ContextFitSettings
from policies.routing.learned.pace import Pace
from policies.routing.learned.prefixes import Prefixes
from policies.routing.least_loaded import LeastLoaded
from policies.routing.peak_ewma import PeakEwma, PeakEwmaSettings
from policies.routing.pin import Pin
from policies.routing.predicted_ttft import PredictedTtft, PredictedTtftSettings
from policies.routing.prefix_affinity import PrefixAffinity
from policies.routing.round_robin import RoundRobin

Clock = Callable[[], float]
Policies = list[tuple[str, RoutingPolicy]]


class BytesCounter:
    """Counts prompts as a gateway that has learnt does: by their bytes."""

    def estimate(self, call: Call) -> int:
        """Four bytes a token, which is what the workloads write."""
        return len(call.body) // 4

    async def exact(self, call: Call) -> int | None:
        """Nothing that routing would wait for."""
        return None

    def produced(self, call: Call, backend: str, events: int) -> int:
        """One token an event."""
        return events

    def typical_output(self, call: Call) -> int:
        """About the mean of the workloads."""
        return 240


class LeastConnections:
    """The one with the fewest calls, whatever it can do."""

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Order by calls in flight."""
        return sorted(replicas, key=lambda replica: replica.in_flight)


class PowerOfTwo:
    """The one with fewer calls of two that are drawn by chance (Mitzenmacher, 2001)."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Draw two."""
        drawn = self._chance.sample(list(replicas), min(2, len(replicas)))
        return sorted(drawn, key=lambda replica: replica.in_flight)


class CacheAware:
    """The published rule of cache-aware routers, with their usual numbers.

    Where load is out of balance (the most calls exceed the fewest by 64 and by half), the least loaded; else the one that
    was sent the longest common beginning, if that is over 0.3 of the prompt; else the one that was sent least so far.
    """

    def __init__(self, threshold: float = 0.3, absolute: int = 64, relative: float = 1.5) -> None:
        self._threshold, self._absolute, self._relative = threshold, absolute, relative
        self._sent: dict[str, set[int]] = {}

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Choose one; the others follow by load."""
        by_load = sorted(replicas, key=lambda replica: replica.in_flight)
        least, most = by_load[0].in_flight, by_load[-1].in_flight
        links = _links(call.body)
        if most - least > self._absolute and most > least * self._relative:
            chosen = by_load[0]
        else:
            matches = {replica.name: self._match(replica.name, links) for replica in replicas}
            best = max(replicas, key=lambda replica: matches[replica.name])
            if matches[best.name] / len(links) > self._threshold:
                chosen = best
            else:
                chosen = min(replicas, key=lambda replica: len(self._sent.get(replica.name, ())))
        self._sent.setdefault(chosen.name, set()).update(links)
        return [chosen, *[replica for replica in by_load if replica is not chosen]]

    def _match(self, name: str, links: Sequence[int]) -> int:
        sent = self._sent.get(name, set())
        return next((index for index, link in enumerate(links) if link not in sent), len(links))


def _links(body: bytes, step: int = 256) -> list[int]:
    """A hash of all up to each step."""
    chain, found = 0, []
    for start in range(0, len(body), step):
        chain = hash((chain, body[start : start + step]))
        found.append(chain)
    return found


class Kit:
    """What policies are given: one of each thing that several share, as in a gateway."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self.clock, self.chance, self.tokens = clock, chance, BytesCounter()
        self.pace = Pace(self.tokens, clock)


POLICIES: dict[str, Callable[[Kit], RoutingPolicy]] = {
    "pin": lambda _: Pin(PooledFleet([], [])),
    "context_fit": lambda kit: ContextFit(ContextFitSettings(), kit.tokens),
    "round_robin": lambda _: RoundRobin(),
    "least_loaded": lambda _: LeastLoaded(),
    "peak_ewma": lambda kit: PeakEwma(PeakEwmaSettings(), kit.clock),
    "capacity_weighted": lambda kit: CapacityWeighted(CapacityWeightedSettings(), kit.pace, kit.chance),
    "predicted_ttft": lambda kit: PredictedTtft(PredictedTtftSettings(), kit.pace),
    "prefix_affinity": lambda kit: PrefixAffinity(kit.pace, Prefixes(200_000)),
}


def _policies(*names: str) -> Callable[[Clock, random.Random], Policies]:
    """A list of real policies."""

    def build(clock: Clock, chance: random.Random) -> Policies:
        kit = Kit(clock, chance)
        return [(name, POLICIES[name](kit)) for name in names]

    return build


OURS = "default list"
RULES: dict[str, Callable[[Clock, random.Random], Policies]] = {
    "round robin": _policies("round_robin"),
    "least connections": lambda _, __: [("least_connections", LeastConnections())],
    "power of two": lambda _, chance: [("power_of_two", PowerOfTwo(chance))],
    "cache-aware": lambda _, __: [("cache_aware", CacheAware())],
    "least_loaded": _policies("least_loaded"),
    "peak_ewma": _policies("peak_ewma"),
    "capacity_weighted": _policies("capacity_weighted"),
    "predicted_ttft": _policies("predicted_ttft"),
    OURS: _policies(*DEFAULT_ROUTING),
}
# What other routers do. They know nothing of an engine's slots, so they are run without as well as with ours.
OTHERS = ("round robin", "least connections", "power of two", "cache-aware")
