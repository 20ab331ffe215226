"""The policies of a few lines: weighted, priority_tiers, round_robin, cost_aware, peak_ewma."""

from __future__ import annotations

import random
from collections import Counter as Tally

import pytest

from gateway import Prices, ReplicaLoad
from policies.routing.cost_aware import CostAware, CostAwareSettings
from policies.routing.deadlines import Slo
from policies.routing.learned.pace import Pace
from policies.routing.peak_ewma import PeakEwma, PeakEwmaSettings
from policies.routing.priority_tiers import PriorityTiers, PriorityTiersSettings
from policies.routing.round_robin import RoundRobin
from policies.routing.weighted import Weighted, WeightedSettings
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.routing.ranking import Clock, Counter, names, place, serve

CALL = make_call(body=b"x" * 1_000, stream=True, max_tokens=100)


def test_round_robin_takes_turns() -> None:
    policy, replicas = RoundRobin(), [make_replica(name) for name in "abc"]
    assert [names(policy, CALL, replicas)[0] for _ in range(6)] == list("abcabc")


def test_weights_are_kept_to_by_name_and_by_backend() -> None:
    policy = Weighted(WeightedSettings(weights={"vllm": 6.0, "b": 3.0, "off": 0.0}), random.Random(7))
    replicas = [
        make_replica("a", backend="vllm"),
        make_replica("b", backend="vllm"),
        make_replica("c"),
        make_replica("off"),
    ]
    orders = [names(policy, CALL, replicas) for _ in range(2_000)]
    firsts = Tally(order[0] for order in orders)
    assert firsts["a"] == pytest.approx(1_200, rel=0.1)
    assert firsts["b"] == pytest.approx(600, rel=0.15)
    assert firsts["c"] == pytest.approx(200, rel=0.3)
    assert all(order[-1] == "off" for order in orders)


def test_what_no_weight_is_given_for_has_its_own() -> None:
    policy = Weighted(WeightedSettings(weights={"vllm": 2.0}), random.Random(7))
    replicas = [
        make_replica("a", backend="vllm", weight=50.0),
        make_replica("b", weight=6.0),
        make_replica("c", weight=0),
    ]
    orders = [names(policy, CALL, replicas) for _ in range(2_000)]
    assert Tally(order[0] for order in orders)["b"] == pytest.approx(1_500, rel=0.1)
    assert all(order[-1] == "c" for order in orders)


def test_what_stands_in_no_tier_comes_after_them_by_its_own() -> None:
    replicas = [
        make_replica("second", tier=20),
        make_replica("first", tier=10),
        make_replica("busy", tier=0, in_flight=4),
        make_replica("v", backend="vllm", tier=90),
    ]
    assert names(PriorityTiers(TIERS), CALL, replicas) == ["v", "first", "second", "busy"]
    assert names(PriorityTiers(PriorityTiersSettings()), CALL, replicas) == ["first", "second", "v", "busy"]


TIERS = PriorityTiersSettings(tiers=[["vllm"], ["ktransformers"]], saturated_share=0.5)


def test_tiers_come_in_their_order_and_within_one_the_order_stays() -> None:
    replicas = [
        make_replica("hosted"),
        make_replica("k", backend="ktransformers"),
        make_replica("w", backend="vllm"),
        make_replica("v", backend="vllm"),
    ]
    assert names(PriorityTiers(TIERS), CALL, replicas) == ["w", "v", "k", "hosted"]


def test_a_saturated_replica_makes_way_for_the_next_tier() -> None:
    replicas = [
        make_replica("v", backend="vllm", in_flight=2),
        make_replica("w", backend="vllm", load=ReplicaLoad(running=1, waiting=1)),
        make_replica("k", backend="ktransformers", in_flight=1),
        make_replica("hosted"),
    ]
    assert names(PriorityTiers(TIERS), CALL, replicas) == ["k", "hosted", "v", "w"]


PRICES = {"dear": Prices(input=3.0, output=15.0), "cheap": Prices(input=1.0, output=5.0)}


def test_what_is_free_comes_first_and_then_what_is_cheap() -> None:
    policy = CostAware(CostAwareSettings(prices=PRICES), Pace(Counter(), Clock()))
    assert names(policy, CALL, [make_replica(name) for name in ("dear", "cheap", "own")]) == ["own", "cheap", "dear"]


def test_costs_depend_on_how_long_prompt_and_answer_are() -> None:
    prices = {"a": Prices(input=1.0, output=10.0), "b": Prices(input=3.0, output=1.0)}
    policy = CostAware(CostAwareSettings(prices=prices), Pace(Counter(), Clock()))
    replicas = [make_replica("a"), make_replica("b")]
    assert names(policy, CALL, replicas)[0] == "a"
    assert names(policy, make_call(body=b"x" * 1_000, max_tokens=1_000), replicas)[0] == "b"


def test_the_cheapest_that_meets_the_deadline_is_chosen_and_the_late_ones_come_soonest_first() -> None:
    pace = Pace(Counter(), Clock())
    replicas = [make_replica(name) for name in ("own", "cheap", "dear")]
    for replica, seconds in zip(replicas, (9.0, 0.5, 0.1), strict=True):
        for _ in range(3):
            serve([pace], CALL, replica, seconds, 10.0)
    settings = CostAwareSettings(prices=PRICES, slo=Slo(ttft_ms=1_000))
    assert names(CostAware(settings, pace), CALL, replicas) == ["cheap", "dear", "own"]
    for _ in range(3):
        place([pace], CALL, replicas[1])
    assert names(CostAware(settings, pace), CALL, replicas) == ["dear", "cheap", "own"]


def test_an_slo_is_a_model_s_before_an_operation_s() -> None:
    slo = Slo(ttft_ms=3_000, models={"kimi-k2": 1_000}, operations={CALL.operation: 2_000})
    assert slo.seconds(CALL) == 1.0
    assert Slo(ttft_ms=3_000, operations={CALL.operation: 2_000}).seconds(CALL) == 2.0
    assert Slo(ttft_ms=3_000).seconds(CALL) == 3.0
    assert Slo().seconds(CALL) is None


class Ewma:
    def __init__(self, **settings: str) -> None:
        self.clock = Clock()
        self.policy = PeakEwma(PeakEwmaSettings(**settings), self.clock)  # type: ignore[arg-type]
        self.fast, self.slow = make_replica("fast"), make_replica("slow")
        for replica, seconds in ((self.fast, 0.1), (self.slow, 1.0)):
            serve([self.policy], CALL, replica, seconds, 2.0)

    def first(self) -> str:
        return names(self.policy, CALL, [self.slow, self.fast])[0]


def test_the_fastest_of_late_comes_first_until_it_has_too_many_calls() -> None:
    ewma = Ewma()
    assert ewma.first() == "fast"
    ewma.fast.in_flight = 20
    assert ewma.first() == "slow"


def test_a_peak_is_seen_at_once_and_forgiven_with_time() -> None:
    ewma = Ewma()
    serve([ewma.policy], CALL, ewma.fast, 30.0, 31.0)
    assert ewma.first() == "slow"
    for _ in range(5):
        ewma.clock.now += 10.0
        serve([ewma.policy], CALL, ewma.fast, 0.1, 1.0)
        serve([ewma.policy], CALL, ewma.slow, 1.0, 2.0)
    assert ewma.first() == "fast"


def test_a_failure_that_comes_at_once_makes_no_replica_look_fast_and_a_late_one_makes_it_look_slow() -> None:
    ewma = Ewma()
    place([ewma.policy], CALL, ewma.slow).ended(0.001, error_code="upstream_broken")
    assert ewma.first() == "fast"
    place([ewma.policy], CALL, ewma.fast).ended(60.0, error_code="upstream_timeout")
    assert ewma.first() == "slow"


def test_whole_answers_may_be_watched_instead() -> None:
    ewma = Ewma(of="whole")
    serve([ewma.policy], CALL, ewma.fast, 0.1, 90.0)
    assert ewma.first() == "slow"
