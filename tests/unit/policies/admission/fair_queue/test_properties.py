"""Whatever comes, leaves, ends, fails and gets ready, in any order: no slot idle while calls wait, none given twice, none lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway import ReplicaState
from gateway.errors import NoReplicaAvailable, QueueTimeout, QuotaExceeded
from tests.unit.builders import make_replica
from tests.unit.policies.admission.fair_queue.hall import Hall, Visit, assert_nothing_is_left, settled
from tests.unit.virtual_time import VirtualTimeLoop

PLACES = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from("abc"), st.integers(0, 2)),
        st.tuples(st.just("come"), st.just("a"), st.just(0)),
        st.tuples(st.just("leave"), PLACES),
        st.tuples(st.just("finish"), PLACES, st.integers(0, 1_000)),
        st.tuples(st.just("finish and leave"), PLACES, PLACES),
        st.tuples(st.just("state"), st.integers(0, 1), st.sampled_from([ReplicaState.READY, ReplicaState.FAILED])),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 4.0, 12.0])),
    ),
    max_size=80,
)


class Story:
    """Plays the steps, and looks after each whether all is as it must be."""

    def __init__(self) -> None:
        replicas = make_replica("a", max_concurrent=2), make_replica("b", max_concurrent=1)
        self.hall = Hall(*replicas, per_tenant=6, waiting=12, deadline_seconds=10.0)
        self.visits: list[Visit] = []

    async def play(self, steps: list[tuple[Any, ...]]) -> None:
        acts: dict[str, Callable[..., None]] = {
            "come": self.come,
            "leave": self.leave,
            "finish": self.finish,
            "finish and leave": self.finish_and_leave,
            "state": self.state,
        }
        for name, *what in steps:
            if name == "pass":
                await asyncio.sleep(what[0])
            else:
                acts[name](*what)
            await settled()
            self.look()
        for replica in self.hall.replicas:
            self.hall.fleet.report(replica, ReplicaState.READY)
        await settled()
        await self.hall.empty()
        await self.ended()

    def come(self, tenant: str, priority: int) -> None:
        self.visits.append(self.hall.come(tenant, priority=priority))

    def leave(self, place: int) -> None:
        waiting = [visit for visit in self.visits if not visit.done()]
        if waiting:
            waiting[place % len(waiting)].cancel()

    def finish(self, place: int, tokens: int) -> None:
        if self.hall.inside:
            self.hall.leave(tokens, place % len(self.hall.inside))

    def finish_and_leave(self, place: int, other: int) -> None:
        self.finish(place, 10)
        self.leave(other)

    def state(self, number: int, state: ReplicaState) -> None:
        self.hall.fleet.report(self.hall.replicas[number], state)

    def look(self) -> None:
        lane = self.hall.lane()
        slots = sum(each.max_concurrent for each in self.hall.replicas if each.state is ReplicaState.READY)
        assert lane.granted == len(self.hall.inside)
        assert lane.waiting == sum(not visit.done() for visit in self.visits)
        assert lane.waiting == 0 or slots == 0 or lane.granted >= slots
        assert self.hall.lanes.watch.running == bool(lane.waiting)

    async def ended(self) -> None:
        answers = await asyncio.gather(*self.visits, return_exceptions=True)
        refusals = (asyncio.CancelledError, QuotaExceeded, NoReplicaAvailable, QueueTimeout)
        assert all(isinstance(each, refusals) for each in answers if isinstance(each, BaseException))
        assert_nothing_is_left(self.hall)


@given(steps=STEPS)
def test_a_queue_is_right_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        await Story().play(steps)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play())
