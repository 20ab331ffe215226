"""capacity_weighted and predicted_ttft: what they have learnt of unequal engines, and what they do before they have."""

from __future__ import annotations

import random
from collections import Counter as Tally

import pytest

from gateway import Call, Ranking, Replica, ReplicaLoad
from policies.routing.capacity_weighted import CapacityWeighted, CapacityWeightedSettings
from policies.routing.deadlines import Slo
from policies.routing.learned.pace import Pace
from policies.routing.predicted_ttft import PredictedTtft, PredictedTtftSettings
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.routing.ranking import Clock, Counter, names, place, ranked, serve


def call_of(tokens: int) -> Call:
    return make_call(body=b"x" * tokens, stream=True)


SHORT, LONG = call_of(100), call_of(20_000)


class Scene:
    """A large engine (8,000 tokens of prompts and 1,000 of answers a second) and a small one (200 and 10), both well known."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pace = Pace(Counter(), self.clock)
        self.large = make_replica("large", max_concurrent=256)
        self.small = make_replica("small", max_concurrent=4)
        self.replicas = [self.small, self.large]
        for replica, prompts, answers in ((self.large, 8_000, 1_000), (self.small, 200, 10)):
            for call in (SHORT, LONG) * 5:
                tokens = len(call.body)
                first = 0.1 + tokens / prompts
                serve(
                    [self.pace], call, replica, first, first + 100 / answers,
                    prompt_tokens=tokens, completion_tokens=100,
                )  # fmt: skip

    def capacity(self, choices: int | None = None) -> CapacityWeighted:
        return CapacityWeighted(CapacityWeightedSettings(choices=choices), self.pace, random.Random(3))

    def predicted(self, **slo: float) -> PredictedTtft:
        return PredictedTtft(PredictedTtftSettings(slo=Slo(**slo)), self.pace)  # type: ignore[arg-type]


def test_a_large_engine_with_many_calls_comes_before_an_idle_small_one() -> None:
    scene = Scene()
    scene.large.in_flight = 8
    assert names(scene.capacity(), SHORT, scene.replicas) == ["large", "small"]


def test_until_it_has_so_many_that_each_gets_less_there() -> None:
    scene = Scene()
    scene.large.in_flight = 250
    assert names(scene.capacity(), SHORT, scene.replicas) == ["small", "large"]


def test_what_others_have_there_counts_as_well() -> None:
    scene = Scene()
    scene.large.load = ReplicaLoad(running=200, waiting=30)
    assert names(scene.capacity(), SHORT, scene.replicas) == ["small", "large"]


def test_one_whose_slots_others_have_taken_comes_last_however_fast_it_is() -> None:
    scene = Scene()
    scene.large.max_concurrent = 2
    scene.large.load = ReplicaLoad(running=2)
    assert names(scene.capacity(), SHORT, scene.replicas) == ["small", "large"]


def test_before_anything_is_learnt_calls_are_shared_by_slots() -> None:
    policy = CapacityWeighted(CapacityWeightedSettings(), Pace(Counter(), Clock()), random.Random(3))
    replicas = [make_replica("small", max_concurrent=10), make_replica("large", max_concurrent=90)]
    for _ in range(50):
        place([], SHORT, ranked(policy, SHORT, replicas)[0])
    assert replicas[0].in_flight == pytest.approx(5, abs=1)


def test_of_two_drawn_the_better_comes_first_and_the_others_stay_as_they_came() -> None:
    policy = CapacityWeighted(CapacityWeightedSettings(choices=2), Pace(Counter(), Clock()), random.Random(3))
    replicas = [
        make_replica(name, max_concurrent=100, in_flight=load) for name, load in zip("abcd", (0, 1, 2, 3), strict=True)
    ]
    firsts: Tally[str] = Tally()
    for _ in range(600):
        order = names(policy, SHORT, replicas)
        firsts[order[0]] += 1
        assert order[0] < order[1]
        assert order[2:] == sorted(order[2:])
    assert firsts["d"] == 0
    assert firsts["a"] == pytest.approx(300, rel=0.2)


def test_a_short_prompt_is_not_queued_behind_long_ones_as_long_as_another_engine_is_sooner() -> None:
    scene = Scene()
    policy = scene.predicted()
    assert names(policy, SHORT, scene.replicas)[0] == "large"
    for _ in range(3):  # seven seconds and a half
        place([scene.pace], LONG, scene.large)
    assert names(policy, SHORT, scene.replicas)[0] == "small"
    assert names(policy, LONG, scene.replicas)[0] == "large"


def test_the_seconds_are_told() -> None:
    scene = Scene()
    found = scene.predicted().rank(SHORT, scene.replicas)
    assert isinstance(found, Ranking)
    assert (found.unit, [each.name for each in found.replicas]) == ("seconds", ["large", "small"])
    assert list(found.scores) == [pytest.approx(0.1 + 100 / 8_000, rel=0.1), pytest.approx(0.6, rel=0.1)]


def test_those_that_keep_the_deadline_stay_as_they_came_before_those_that_do_not() -> None:
    scene = Scene()
    assert names(scene.predicted(ttft_ms=1_000), SHORT, scene.replicas) == ["small", "large"]
    assert names(scene.predicted(ttft_ms=300), SHORT, scene.replicas) == ["large", "small"]
    assert names(scene.predicted(ttft_ms=1), SHORT, scene.replicas) == ["large", "small"]


def spread(policy: PredictedTtft, replicas: list[Replica]) -> Tally[str]:
    return Tally(names(policy, SHORT, replicas)[0] for _ in range(30))


def test_replicas_that_are_alike_share_the_calls_of_an_idle_fleet() -> None:
    """Else the one that was a millisecond faster would get them all."""
    pace = Pace(Counter(), Clock())
    replicas = [make_replica(name) for name in "abc"]
    for replica, first in zip(replicas, (0.100, 0.101, 0.104), strict=True):
        serve([pace], SHORT, replica, first, 1.0)
    assert spread(PredictedTtft(PredictedTtftSettings(), pace), replicas) == {"a": 10, "b": 10, "c": 10}


def test_a_new_replica_gets_its_first_call_though_others_are_well_known() -> None:
    pace = Pace(Counter(), Clock())
    old, new = make_replica("old"), make_replica("new")
    for _ in range(10):
        serve([pace], LONG, old, 2.0, 3.0)
    assert names(PredictedTtft(PredictedTtftSettings(), pace), LONG, [old, new])[0] == "new"


def test_a_replica_that_started_slowly_is_tried_again_after_a_while() -> None:
    clock = Clock()
    pace = Pace(Counter(), clock)
    cold, warm = make_replica("cold"), make_replica("warm")
    serve([pace], LONG, cold, 60.0, 61.0)
    policy = PredictedTtft(PredictedTtftSettings(), pace)
    for _ in range(30):
        serve([pace], LONG, warm, 1.0, 2.0)
        assert names(policy, LONG, [cold, warm])[0] == "warm"
        clock.now += 10.0
    for _ in range(60):
        serve([pace], LONG, warm, 1.0, 2.0)
        clock.now += 10.0
    assert names(policy, LONG, [cold, warm])[0] == "cold"
