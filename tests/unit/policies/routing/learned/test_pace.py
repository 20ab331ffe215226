from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Call, Replica, ReplicaLoad
from policies.routing.learned.pace import Pace
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.routing.ranking import Clock, Counter, place, serve


def call_of(tokens: int, *, stream: bool = True) -> Call:
    return make_call(body=b"x" * tokens, stream=stream)


class Scene:
    """A replica whose pace is known: a thousand tokens a second."""

    def __init__(self, **replica: Any) -> None:
        self.clock = Clock()
        self.pace = Pace(Counter(), self.clock)
        self.replica = make_replica(**replica)
        for _ in range(5):
            serve([self.pace], call_of(1_000), self.replica, 1.0, 2.0, prompt_tokens=1_000, completion_tokens=100)

    def seconds(self, tokens: int = 1_000, share: float = 0.0, replica: Replica | None = None) -> float:
        (found,) = self.pace.seconds_to_first([replica or self.replica], tokens, [share])
        return found


def test_a_prompt_waits_for_those_that_were_sent_before_and_not_answered() -> None:
    scene = Scene()
    assert scene.seconds() == pytest.approx(1.0)
    attempt = place([scene.pace], call_of(3_000), scene.replica)
    assert scene.seconds() == pytest.approx(4.0)
    attempt.answered(3.0)
    assert scene.seconds() == pytest.approx(1.0)
    attempt.ended(5.0, first_event_seconds=3.0)
    assert scene.seconds() == pytest.approx(1.0)


def test_what_is_cached_need_not_be_read() -> None:
    assert Scene().seconds(4_000, 0.75) == pytest.approx(1.0)


def test_an_attempt_of_which_a_part_is_cached_queues_the_rest_alone() -> None:
    scene = Scene()
    scene.pace.cached_share = lambda call, replica: 0.75
    place([scene.pace], call_of(4_000), scene.replica)
    assert scene.seconds() == pytest.approx(2.0)


def test_a_plain_answer_s_prompt_is_taken_for_read_when_it_should_have_been() -> None:
    scene = Scene()
    attempt = place([scene.pace], call_of(3_000, stream=False), scene.replica)
    assert scene.seconds() == pytest.approx(4.0)
    scene.clock.now += 3.5
    assert scene.seconds() == pytest.approx(1.0)
    attempt.ended(9.0)
    assert scene.seconds() == pytest.approx(1.0)


def test_a_plain_answer_that_is_there_sooner_has_been_read() -> None:
    scene = Scene()
    place([scene.pace], call_of(3_000, stream=False), scene.replica).ended(0.1, error_code="upstream_overloaded")
    assert scene.seconds() == pytest.approx(1.0)


def test_a_failure_that_comes_at_once_makes_no_replica_look_fast() -> None:
    scene = Scene()
    for _ in range(20):
        place([scene.pace], call_of(1_000), scene.replica).ended(0.001, error_code="upstream_broken")
    assert scene.seconds() == pytest.approx(1.0)


def test_a_client_that_had_enough_tells_that_it_would_have_taken_longer() -> None:
    scene = Scene()
    for _ in range(30):
        place([scene.pace], call_of(1_000), scene.replica).ended(8.0, error_code="client_left")
    assert scene.seconds() > 4.0


def test_when_others_have_the_slots_a_call_waits_for_one() -> None:
    scene = Scene(max_concurrent=4)
    before = scene.seconds()
    scene.replica.load = ReplicaLoad(running=3)
    assert scene.seconds() == pytest.approx(before)
    scene.replica.load = ReplicaLoad(running=4)
    assert scene.seconds() > before + 0.5


def test_what_others_have_waiting_is_to_be_read_before() -> None:
    scene = Scene(max_concurrent=100)
    before = scene.seconds()
    scene.replica.load = ReplicaLoad(running=2, waiting=3)
    assert scene.seconds() > before + 2.0
    scene.replica.load = ReplicaLoad(running=2, waiting=0)
    assert scene.seconds() == pytest.approx(before)


def test_our_own_calls_are_not_counted_again_as_those_of_others() -> None:
    """A report counts all that runs there; what was ours when it came is taken off, and what came since is counted fresh."""
    pace, replica = Pace(Counter(), Clock()), make_replica(max_concurrent=10)
    attempts = [place([pace], call_of(10), replica) for _ in range(3)]
    replica.load = ReplicaLoad(running=5, waiting=0)
    place([pace], call_of(10), replica)  # the report was there before this one
    assert pace.loads([replica], 10) == [pytest.approx((4 + 2 + 1) / 10)]
    for attempt in attempts:
        attempt.ended(1.0, error_code="upstream_broken")
    assert pace.loads([replica], 10) == [pytest.approx((1 + 2 + 1) / 10)]


def test_what_was_learnt_is_believed_less_when_nobody_has_called_for_long() -> None:
    scene = Scene()
    scene.clock.now += 59.0
    assert scene.seconds() == pytest.approx(1.0)
    scene.clock.now += 121.0
    assert scene.seconds() == pytest.approx(0.5)
    scene.clock.now += 3_600.0
    assert scene.seconds() < 0.001


def test_a_replica_that_is_configured_anew_is_another() -> None:
    scene = Scene()
    again = make_replica()
    assert again.name == scene.replica.name
    assert scene.seconds(replica=again) != pytest.approx(scene.seconds())


def test_an_unknown_replica_is_taken_to_do_what_the_others_do_for_each_slot() -> None:
    pace = Pace(Counter(), Clock())
    known, new = make_replica("known", max_concurrent=10), make_replica("new", max_concurrent=20)
    serve([pace], call_of(100), known, 0.1, 1.0, prompt_tokens=100, completion_tokens=100)
    first, second = pace.loads([known, new], 100)
    assert second == pytest.approx(first / 2)


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.integers(1, 5_000), st.sampled_from([None, "upstream_broken"])),
        max_size=20,
    ),
    st.randoms(use_true_random=False),
)
def test_when_all_is_over_nothing_is_left_to_be_read(
    attempts: list[tuple[bool, bool, int, str | None]], chance: object
) -> None:
    clock = Clock()
    pace, replica = Pace(Counter(), clock), make_replica()
    running = []
    for stream, answered, tokens, error in attempts:
        running.append((place([pace], call_of(tokens, stream=stream), replica), stream and answered, error))
    chance.shuffle(running)  # type: ignore[attr-defined]
    for attempt, is_answered, error in running:
        clock.now += 0.5
        pace.seconds_to_first([replica], 10)
        if is_answered:
            attempt.answered(0.5)
        attempt.ended(1.0, error_code=error)
    assert pace.standing(replica).backlog == 0
    assert replica.in_flight == 0
