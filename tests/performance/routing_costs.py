"""What routing costs a call, in one process and in microseconds: each policy, and the default list, for 64 replicas.

    python -m tests.performance.routing_costs [REPLICAS]

CPU time, the best of many short rounds: a busy machine only ever makes it more.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
import timeit
from collections.abc import Callable, Sequence
from typing import Any, cast

from gateway import Call, Decision, Fleet, Prices, Ranking, Replica, ReplicaLoad, RoutingPolicy
from gateway.dataplane.placement import place
from gateway.tokens import LearnedCounter
from policies.routing.capacity_weighted import CapacityWeighted, CapacityWeightedSettings
from policies.routing.context_fit import ContextFit, ContextFitSettings
from policies.routing.cost_aware import CostAware, CostAwareSettings
from policies.routing.learned.chain import chain
from policies.routing.learned.pace import Pace
from policies.routing.learned.prefixes import Prefixes
from policies.routing.least_loaded import LeastLoaded
from policies.routing.peak_ewma import PeakEwma, PeakEwmaSettings
from policies.routing.pin import Pin
from policies.routing.predicted_ttft import PredictedTtft, PredictedTtftSettings
from policies.routing.prefix_affinity import PrefixAffinity
from policies.routing.priority_tiers import PriorityTiers, PriorityTiersSettings
from policies.routing.round_robin import RoundRobin
from policies.routing.session_affinity import SessionAffinity, SessionAffinitySettings
from policies.routing.time_window import TimeWindow, TimeWindowSettings, Window
from policies.routing.weighted import Weighted, WeightedSettings
from tests.unit.builders import make_call, make_pool, make_replica
from tests.unit.policies.routing.ranking import serve

ROUNDS, CALLS = 41, 100
TARGETS = {"the default list": 50.0, "the default list, a turn that goes on": 50.0, "prefixes: match 100 KB": 200.0}


class Everyone:
    """A fleet of these replicas."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas

    def replicas(self) -> Sequence[Replica]:
        return self._replicas


def conversation(turns: int, number: int) -> Call:
    """Of about 540 bytes a turn; each number is another conversation after the same system prompt."""
    said = [
        {"role": ("assistant", "user")[at % 2], "content": f"{number} " + "lorem ipsum dolor " * 30}
        for at in range(turns)
    ]
    messages = [{"role": "system", "content": "You are careful. " * 20}, *said]
    body = json.dumps({"model": "kimi-k2", "stream": True, "messages": messages}).encode()
    headers = tuple((b"x-header-%d" % at, b"value") for at in range(10))
    return make_call(body=body, stream=True, headers=headers, user=str(number))


class Bench:
    """Replicas about which everything has been learnt, and calls that come in turn."""

    def __init__(self, count: int) -> None:
        self.chance = random.Random(1)
        backends, slots = ("vllm", "sglang", "ktransformers"), (4, 64, 256)
        self.replicas = [
            make_replica(
                f"replica-{at}",
                backend=self.chance.choice(backends),
                max_concurrent=self.chance.choice(slots),
                load=ReplicaLoad(running=2, waiting=0),
            )
            for at in range(count)
        ]
        self.counter = LearnedCounter()
        self.pace, self.prefixes = Pace(self.counter), Prefixes(200_000)
        self.small = itertools.cycle([conversation(3, number) for number in range(1_000, 1_050)])
        self.begun = itertools.cycle([conversation(5, number) for number in range(2_000, 2_020)])
        self.large = itertools.cycle([conversation(185, number) for number in range(20)])
        for at, number in enumerate(range(2_000, 2_020)):  # one replica holds each
            serve([self.pace, self.prefixes], conversation(3, number), self.replicas[at % count], 0.5, 2.0)
        for replica in self.replicas:
            for _ in range(3):
                serve([self.pace], next(self.small), replica, self.chance.random(), 2.0, prompt_tokens=500)
                serve([self.pace, self.prefixes], next(self.large), replica, self.chance.random(), 3.0)

    def policies(self) -> dict[str, RoutingPolicy]:
        """Every policy by its name; the default list first."""
        pace = self.pace
        return {
            "pin": Pin(cast("Fleet", Everyone(self.replicas))),
            "context_fit": ContextFit(ContextFitSettings(), self.counter),
            "predicted_ttft": PredictedTtft(PredictedTtftSettings(), pace),
            "prefix_affinity": PrefixAffinity(pace, self.prefixes),
            "capacity_weighted": CapacityWeighted(CapacityWeightedSettings(), pace, self.chance),
            "capacity_weighted, choices: 2": CapacityWeighted(CapacityWeightedSettings(choices=2), pace, self.chance),
            "peak_ewma": PeakEwma(PeakEwmaSettings()),
            "least_loaded": LeastLoaded(),
            "round_robin": RoundRobin(),
            "weighted": Weighted(WeightedSettings(weights={"vllm": 2.0}), self.chance),
            "session_affinity": SessionAffinity(SessionAffinitySettings()),
            "priority_tiers": PriorityTiers(PriorityTiersSettings(tiers=[["vllm"], ["sglang"]])),
            "cost_aware": CostAware(CostAwareSettings(prices={"vllm": Prices(input=1.0, output=2.0)}), pace),
            "time_window": TimeWindow(TimeWindowSettings(windows=[Window(replicas=["vllm"])])),
        }

    def attempt(self, call: Call) -> None:
        """All that observers are told of one."""
        serve([self.pace, self.prefixes], call, self.replicas[0], 0.1, 1.0, prompt_tokens=500, completion_tokens=90)


def measure(work: Callable[[], Any]) -> float:
    """Microseconds."""
    return min(timeit.repeat(work, number=CALLS, repeat=ROUNDS, timer=time.process_time)) / CALLS * 1e6


def fold(policies: Sequence[tuple[str, RoutingPolicy]], call: Call, replicas: Sequence[Replica]) -> None:
    for _, policy in policies:
        found = policy.rank(call, replicas)
        replicas = found.replicas if isinstance(found, Ranking) else found


def main() -> None:
    """Measure and print a table."""
    bench = Bench(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
    policies, replicas, pool = bench.policies(), bench.replicas, make_pool(*bench.replicas)
    default = list(policies.items())[:4]
    works: dict[str, Callable[[], Any]] = {
        name: lambda policy=policy: policy.rank(next(bench.small), replicas) for name, policy in policies.items()
    }
    works |= {
        "the default list": lambda: fold(default, next(bench.small), replicas),
        "the default list, a turn that goes on": lambda: fold(default, next(bench.begun), replicas),
        "place(), without policies": lambda: place([], next(bench.small), pool, Decision()),
        "place(), the default list": lambda: place(default, next(bench.small), pool, Decision()),
        "prefixes: chain 100 KB": lambda: chain(next(bench.large), "demo"),
        "prefixes: match 100 KB": lambda: bench.prefixes.match(next(bench.large)),
        "observers: one attempt": lambda: bench.attempt(next(bench.small)),
        "observers: one attempt of 100 KB": lambda: bench.attempt(next(bench.large)),
    }
    sys.stdout.write(f"{len(replicas)} replicas\n")
    for name, work in works.items():
        target = f"  (target {TARGETS[name]:.0f})" if name in TARGETS else ""
        sys.stdout.write(f"{name:40} {measure(work):8.1f} us{target}\n")


if __name__ == "__main__":
    main()
