"""A stream whose first event is late is asked for twice: the first to answer wins, and the other is gone at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Ending, Outcome
from gateway.dataplane.attempting import CLIENT_LEFT, Answer
from gateway.dataplane.forwarder import Forwarder
from gateway.dataplane.hedging import HEDGE_LOST
from gateway.errors import UpstreamBroken, UpstreamOverloaded, UpstreamRefused, UpstreamTimeout
from gateway.fleet.hedges import LEAST_TIMES, Hedges
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.settings import HedgeSettings
from tests.unit.builders import make_call, make_pool, make_replica
from tests.unit.fakes import EVENT_STREAM, FakeBackend, FakeConnections, FakeResponse, Piece

A, B = b"data: a\n\n", b"data: b\n\n"


class Scene:
    """Two replicas whose first events come within a second as a rule; later than that is late."""

    def __init__(self, *replies: Any, max_attempts: int = 3, learnt: bool = True, **settings: Any) -> None:
        self.hedges = Hedges(HedgeSettings(enabled=True, **{"minimum_calls": 9, **settings}))
        for name in "ab" if learnt else "":
            for _ in range(LEAST_TIMES):
                self.hedges.note(name, 1.0)
        self.replicas = [make_replica(name) for name in "ab"]
        backend = FakeBackend(must_be_told=True)
        self.pool = make_pool(*self.replicas, backend=backend, max_attempts=max_attempts, hedges=self.hedges)
        self.connections = FakeConnections(*replies)
        self.forwarder = Forwarder(self.connections, PooledFleet([self.pool], []), (), 10_000)  # type: ignore[arg-type]
        self.outcome = Outcome(ending=Ending.FAILED, status=0)

    async def forward(self, *, stream: bool = True) -> Answer:
        return await self.forwarder.forward(make_call(stream=stream), self.pool, self.replicas, self.outcome)

    @property
    def attempts(self) -> list[tuple[str, str | None, bool]]:
        return [(each.replica, each.error_code, each.hedge) for each in self.outcome.attempts]

    @property
    def asked(self) -> list[str]:
        return [f"{sent.host}{sent.target.decode()}" for sent in self.connections.sent]

    @property
    def in_flight(self) -> list[int]:
        return [replica.in_flight for replica in self.replicas]


def stream(*pieces: Piece) -> FakeResponse:
    return FakeResponse(headers=EVENT_STREAM, pieces=pieces)


def never() -> FakeResponse:
    return stream(asyncio.Event())


async def test_what_comes_in_time_is_not_hedged() -> None:
    scene = Scene(stream(A))
    assert (await scene.forward()).first == A
    assert scene.asked == ["a/generate"]


async def test_a_late_one_loses_against_the_second_and_is_aborted_at_once() -> None:
    late, quick = never(), stream(B)
    scene = Scene(late, quick)
    before = asyncio.get_running_loop().time()
    answer = await scene.forward()
    assert asyncio.get_running_loop().time() - before == pytest.approx(1.0, abs=0.5)
    assert answer.member.replica.name == "b"
    assert scene.attempts == [("a", HEDGE_LOST, False), ("b", None, True)]
    assert (late.closed, quick.closed, scene.in_flight) == (1, 0, [0, 1])
    await asyncio.sleep(0)
    assert "a/abort" in scene.asked
    assert scene.hedges.won == 1


async def test_a_late_one_that_is_first_all_the_same_wins() -> None:
    gate = asyncio.Event()
    other = never()
    scene = Scene(stream(gate, A), other)
    task = asyncio.create_task(scene.forward())
    await asyncio.sleep(2)
    gate.set()
    answer = await task
    assert answer.member.replica.name == "a"
    assert scene.attempts == [("b", HEDGE_LOST, True), ("a", None, False)]
    assert (other.closed, scene.in_flight, scene.hedges.won) == (1, [1, 0], 0)


async def test_when_both_answer_in_one_moment_one_of_them_is_let_go() -> None:
    gate = asyncio.Event()
    first, second = stream(gate, A), stream(gate, B)
    scene = Scene(first, second)
    task = asyncio.create_task(scene.forward())
    await asyncio.sleep(2)
    gate.set()
    assert (await task).member.replica.name == "a"
    assert (first.closed, second.closed, scene.in_flight) == (0, 1, [1, 0])
    assert scene.attempts == [("b", HEDGE_LOST, True), ("a", None, False)]


async def test_usage_is_the_winner_s_alone() -> None:
    scene = Scene(never(), stream(B))
    answer = await scene.forward()
    assert answer.meter.events == 1
    assert scene.outcome.checkpoint is scene.replicas[1].checkpoint


# Failures


async def test_a_second_one_that_fails_leaves_the_first_to_answer() -> None:
    gate = asyncio.Event()
    scene = Scene(stream(gate, A), UpstreamOverloaded("full"))
    task = asyncio.create_task(scene.forward())
    await asyncio.sleep(2)
    gate.set()
    assert (await task).member.replica.name == "a"
    assert scene.attempts == [("b", "upstream_overloaded", True), ("a", None, False)]


async def test_a_first_one_that_fails_before_it_is_late_is_tried_again_as_ever() -> None:
    scene = Scene(UpstreamOverloaded("full"), stream(B))
    assert (await scene.forward()).first == B
    assert scene.attempts == [("a", "upstream_overloaded", False), ("b", None, False)]
    assert scene.hedges.budget.made == {}


async def test_when_both_fail_the_call_does() -> None:
    scene = Scene(stream(asyncio.Event()), UpstreamOverloaded("full"))
    with pytest.raises(UpstreamTimeout, match="no first event"):
        await scene.forward()
    assert [code for _, code, _ in scene.attempts] == ["upstream_overloaded", "upstream_timeout"]
    assert scene.in_flight == [0, 0]


@pytest.mark.parametrize("failure", [FakeResponse(400, pieces=[b"no"]), UpstreamBroken("cut")])
async def test_what_no_other_would_mend_ends_both(failure: Any) -> None:
    late = never()
    scene = Scene(late, failure)
    with pytest.raises((UpstreamRefused, UpstreamBroken)):
        await scene.forward()
    assert (late.closed, scene.in_flight) == (1, [0, 0])


async def test_a_client_that_leaves_ends_both() -> None:
    first, second = never(), never()
    scene = Scene(first, second)
    task = asyncio.create_task(scene.forward())
    await asyncio.sleep(2)
    assert scene.in_flight == [1, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (first.closed, second.closed, scene.in_flight) == (1, 1, [0, 0])
    assert scene.attempts == [("a", CLIENT_LEFT, False), ("b", CLIENT_LEFT, True)]


# When there is no second one


@pytest.mark.parametrize(
    "changes",
    [{"budget_share": 0.0, "minimum_calls": 0}, {"max_attempts": 1}, {"learnt": False}, {"floor_seconds": 60}],
)
async def test_without_budget_tries_or_knowledge_the_late_one_is_waited_for(changes: dict[str, Any]) -> None:
    gate = asyncio.Event()
    scene = Scene(stream(gate, A), **changes)
    task = asyncio.create_task(scene.forward())
    await asyncio.sleep(30)
    gate.set()
    assert (await task).first == A
    assert scene.asked == ["a/generate"]


async def test_nor_where_no_other_replica_has_a_slot() -> None:
    gate = asyncio.Event()
    scene = Scene(stream(gate, A))
    scene.replicas[1].in_flight = scene.replicas[1].max_concurrent
    task = asyncio.create_task(scene.forward())
    await asyncio.sleep(30)
    gate.set()
    await task
    assert scene.asked == ["a/generate"]
    assert scene.hedges.budget.made == {}


async def test_whole_answers_are_not_hedged() -> None:
    """How long one takes says how long it is."""
    gate = asyncio.Event()
    scene = Scene(gate, FakeResponse(pieces=[b"{}"]))
    task = asyncio.create_task(scene.forward(stream=False))
    await asyncio.sleep(30)
    gate.set()
    await task
    assert scene.asked == ["a/generate"]
