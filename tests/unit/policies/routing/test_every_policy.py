"""What holds for every routing policy, whatever it decides by."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import Call, Prices, Replica, ReplicaLoad, RoutingPolicy, Usage
from gateway.contracts.policy import Observant
from policies.routing.capacity_weighted import CapacityWeighted, CapacityWeightedSettings
from policies.routing.context_fit import ContextFit, ContextFitSettings
from policies.routing.cost_aware import CostAware, CostAwareSettings
from policies.routing.deadlines import Slo
from policies.routing.learned.pace import Pace
from policies.routing.learned.prefixes import Prefixes
from policies.routing.least_loaded import LeastLoaded
from policies.routing.peak_ewma import PeakEwma, PeakEwmaSettings
from policies.routing.predicted_ttft import PredictedTtft, PredictedTtftSettings
from policies.routing.prefix_affinity import PrefixAffinity
from policies.routing.priority_tiers import PriorityTiers, PriorityTiersSettings
from policies.routing.round_robin import RoundRobin
from policies.routing.session_affinity import SessionAffinity, SessionAffinitySettings
from policies.routing.time_window import TimeWindow, TimeWindowSettings, Window
from policies.routing.weighted import Weighted, WeightedSettings
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.routing.ranking import Clock, Counter, place, ranked, same_replicas


def pace() -> Pace:
    return Pace(Counter(), Clock())


ORDERING: dict[str, Callable[[], RoutingPolicy]] = {
    "capacity_weighted": lambda: CapacityWeighted(CapacityWeightedSettings(), pace(), random.Random(1)),
    "power_of_two": lambda: CapacityWeighted(CapacityWeightedSettings(choices=2), pace(), random.Random(1)),
    "cost_aware": lambda: CostAware(
        CostAwareSettings(prices={"hosted": Prices(input=1.0, output=5.0)}, slo=Slo(ttft_ms=500)), pace()
    ),
    "least_loaded": LeastLoaded,
    "peak_ewma": lambda: PeakEwma(PeakEwmaSettings(), Clock()),
    "peak_ewma_of_whole_answers": lambda: PeakEwma(PeakEwmaSettings(of="whole"), Clock()),
    "predicted_ttft": lambda: PredictedTtft(PredictedTtftSettings(), pace()),
    "predicted_ttft_with_deadline": lambda: PredictedTtft(PredictedTtftSettings(slo=Slo(ttft_ms=500)), pace()),
    "prefix_affinity": lambda: PrefixAffinity(pace(), Prefixes(1_000)),
    "priority_tiers": lambda: PriorityTiers(PriorityTiersSettings(tiers=[["own"], ["0"]])),
    "round_robin": RoundRobin,
    "session_affinity": lambda: SessionAffinity(SessionAffinitySettings()),
    "weighted": lambda: Weighted(WeightedSettings(weights={"own": 3.0, "hosted": 0.0}), random.Random(1)),
}
DROPPING: dict[str, Callable[[], RoutingPolicy]] = {
    "context_fit": lambda: ContextFit(ContextFitSettings(), Counter()),
    "time_window": lambda: TimeWindow(
        TimeWindowSettings(windows=[Window(replicas=["hosted"], from_="08:00", to="17:00")]), Clock()
    ),
}

loads = st.none() | st.builds(ReplicaLoad, running=st.none() | st.integers(0, 9), waiting=st.none() | st.integers(0, 9))


@st.composite
def fleets(draw: st.DrawFn) -> list[Replica]:
    return [
        make_replica(
            str(number),
            backend=draw(st.sampled_from(["own", "hosted"])),
            max_concurrent=draw(st.integers(1, 300)),
            context_length=draw(st.integers(50, 2_000)),
            in_flight=draw(st.integers(0, 5)),
            load=draw(loads),
        )
        for number in range(draw(st.integers(0, 8)))
    ]


def calls() -> list[Call]:
    """Turns of two conversations, streamed or not."""
    bodies = [
        b'{"messages":['
        + b",".join(b'{"role":"user","content":"%s%d"}' % (word, turn) for turn in range(turns))
        + b"]}"
        for word in (b"good day ", b"hello " * 30)
        for turns in (1, 2, 3)
    ]
    return [make_call(body=body, stream=stream) for body in bodies for stream in (True, False)]


CALLS = calls()
# Per attempt: which call, which of the replicas, seconds to the first event if it comes, seconds in all, whether it fails.
attempts = st.tuples(
    st.sampled_from(CALLS),
    st.integers(0, 7),
    st.none() | st.floats(0.0, 100.0),
    st.floats(0.0, 1_000.0),
    st.booleans(),
)


def live(
    policy: RoutingPolicy, replicas: list[Replica], what: list[tuple[Call, int, float | None, float, bool]]
) -> None:
    """Have attempts begin, and half of them end."""
    if not isinstance(policy, Observant) or not replicas:
        return
    begun = [place(policy.observers, call, replicas[at % len(replicas)]) for call, at, *_ in what]
    for attempt, (call, _, first, whole, fails) in list(zip(begun, what, strict=True))[::2]:
        if first is not None and call.stream:
            attempt.answered(first)
        usage = Usage(prompt_tokens=100, cached_tokens=20, completion_tokens=7)
        attempt.ended(whole, first_event_seconds=first, usage=usage, error_code="upstream_broken" if fails else None)


@pytest.mark.parametrize("name", ORDERING)
@settings(max_examples=25)
@given(replicas=fleets(), past=st.lists(attempts, max_size=8), call=st.sampled_from(CALLS), times=st.integers(1, 3))
def test_a_policy_that_orders_keeps_every_replica_once(
    name: str, replicas: list[Replica], past: list[tuple[Call, int, float | None, float, bool]], call: Call, times: int
) -> None:
    policy = ORDERING[name]()
    live(policy, replicas, past)
    before = list(replicas)
    for _ in range(times):
        assert same_replicas(ranked(policy, call, replicas), replicas)
    assert replicas == before


@pytest.mark.parametrize("name", DROPPING)
@given(replicas=fleets(), call=st.sampled_from(CALLS))
def test_a_policy_that_drops_keeps_the_order_of_the_rest(name: str, replicas: list[Replica], call: Call) -> None:
    left = ranked(DROPPING[name](), call, replicas)
    assert left == [replica for replica in replicas if replica in left]


@pytest.mark.parametrize("name", [*ORDERING, *DROPPING])
def test_none_and_one_are_no_trouble(name: str) -> None:
    policy = {**ORDERING, **DROPPING}[name]()
    only = [make_replica(backend="own")]
    assert ranked(policy, make_call(), []) == []
    assert ranked(policy, make_call(), only) == only
