from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway import Ending, Outcome, Replica, ReplicaState
from gateway.dataplane.attempting import CLIENT_LEFT, Answer
from gateway.dataplane.forwarder import Forwarder
from gateway.errors import (
    NoReplicaAvailable,
    PolicyFailed,
    UpstreamBroken,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.fleet.pool import Pool
from gateway.fleet.pooled_fleet import PooledFleet
from tests.unit.builders import make_call, make_member, make_pool, make_replica, until
from tests.unit.fakes import FakeConnections, FakeResponse


class Scene:
    """A pool of three replicas, the engines' answers, and one forwarder."""

    def __init__(self, *replies: Any, max_attempts: int = 3, **settings: Any) -> None:
        self.replicas = [make_replica(name) for name in "abc"]
        self.pool: Pool = make_pool(*self.replicas, max_attempts=max_attempts)
        self.connections = FakeConnections(*replies)
        self.fleet = PooledFleet([self.pool], [])
        self.outcome = Outcome(ending=Ending.FAILED, status=0)
        self.forwarder = Forwarder(
            self.connections,  # type: ignore[arg-type]
            self.fleet,
            settings.get("attribution", ()),
            settings.get("max_answer_bytes", 1_000),
        )

    async def forward(self, ranked: Sequence[Replica] | None = None, **call: Any) -> Answer:
        return await self.forwarder.forward(make_call(**call), self.pool, ranked or self.replicas, self.outcome)

    @property
    def asked(self) -> list[str]:
        return [sent.host for sent in self.connections.sent]

    @property
    def in_flight(self) -> list[int]:
        return [replica.in_flight for replica in self.replicas]

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        return [(attempt.replica, attempt.error_code) for attempt in self.outcome.attempts]


def ok(body: bytes = b"{}") -> FakeResponse:
    return FakeResponse(pieces=[body])


async def test_the_first_of_the_ranked_is_asked_and_its_answer_is_whole() -> None:
    scene = Scene(ok(b'{"a":1}'))
    answer = await scene.forward()
    assert (answer.first, answer.cutter, answer.content_type) == (b'{"a":1}', None, b"application/json")
    assert scene.asked == ["a"]
    assert scene.attempts == [("a", None)]


async def test_the_request_is_what_the_backend_prepared_with_what_every_call_there_carries() -> None:
    scene = Scene(ok())
    member = make_member(scene.replicas[0], base_path="/base")
    scene.pool = Pool(scene.pool.model, [member], 3)
    await scene.forward(scene.replicas[:1], body=b"the body")
    (sent,) = scene.connections.sent
    assert (sent.target, sent.body) == (b"/base/generate", b"the body")
    assert sent.headers == ((b"x-attempt", b"0" * 32 + b"-1"),)


# Which failures lead to the next replica


@pytest.mark.parametrize(
    "failure", [UpstreamUnreachable("dead"), UpstreamOverloaded("full"), UpstreamTimeout("late"), FakeResponse(503)]
)
async def test_a_retryable_failure_leads_to_the_next(failure: Any) -> None:
    scene = Scene(failure, ok())
    answer = await scene.forward()
    assert answer.member.replica.name == "b"
    assert scene.asked == ["a", "b"]
    assert [code is None for _, code in scene.attempts] == [False, True]
    assert scene.connections.sent[1].headers == ((b"x-attempt", b"0" * 32 + b"-2"),)


@pytest.mark.parametrize(
    ("failure", "kind"), [(UpstreamBroken("cut"), UpstreamBroken), (FakeResponse(400, pieces=[b"no"]), UpstreamRefused)]
)
async def test_any_other_is_the_call_s_end(failure: Any, kind: type[UpstreamError]) -> None:
    scene = Scene(failure, ok())
    with pytest.raises(kind):
        await scene.forward()
    assert scene.attempts == [("a", kind.code)]
    assert scene.in_flight == [0, 0, 0]


async def test_the_attempt_budget_ends_the_tries() -> None:
    scene = Scene(UpstreamOverloaded("1"), UpstreamUnreachable("2"), ok(), max_attempts=2)
    with pytest.raises(UpstreamUnreachable, match="2"):
        await scene.forward()
    assert scene.asked == ["a", "b"]


async def test_the_last_failure_is_told_when_no_replica_is_left() -> None:
    scene = Scene(UpstreamOverloaded("1"), UpstreamTimeout("2"), UpstreamOverloaded("3"), max_attempts=9)
    with pytest.raises(UpstreamOverloaded, match="3"):
        await scene.forward()
    assert scene.attempts == [("a", "upstream_overloaded"), ("b", "upstream_timeout"), ("c", "upstream_overloaded")]


async def test_a_replica_that_cannot_be_reached_is_reported() -> None:
    scene = Scene(UpstreamUnreachable("dead"), UpstreamTimeout("late"), ok())
    await scene.forward()
    assert [replica.state for replica in scene.replicas] == [
        ReplicaState.UNREACHABLE,
        ReplicaState.READY,
        ReplicaState.READY,
    ]
    assert "127.0.0.1" not in scene.replicas[0].state_reason


async def test_a_crash_of_the_backend_is_not_a_failure_of_the_engine() -> None:
    scene = Scene(ok())
    scene.pool.members[0].backend.prepare = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        await scene.forward()
    assert scene.in_flight == [0, 0, 0]
    assert scene.outcome.attempts == ()


# Slots


async def test_a_slot_is_taken_while_the_answer_is_held_and_freed_by_close() -> None:
    response = ok()
    scene = Scene(response)
    answer = await scene.forward()
    assert scene.in_flight == [1, 0, 0]
    answer.close()
    assert scene.in_flight == [0, 0, 0]
    assert response.closed == 1


async def test_a_slot_is_taken_while_the_engine_is_waited_for() -> None:
    gate = asyncio.Event()
    scene = Scene(gate, ok())
    task = asyncio.create_task(scene.forward())
    await until(lambda: scene.in_flight == [1, 0, 0])
    gate.set()
    (await task).close()
    assert scene.in_flight == [0, 0, 0]


@pytest.mark.parametrize("gate_in_body", [False, True])
async def test_a_cancelled_wait_frees_the_slot_and_cuts_the_connection(gate_in_body: bool) -> None:
    gate = asyncio.Event()
    response = FakeResponse(pieces=[gate])
    scene = Scene(response) if gate_in_body else Scene(gate)
    task = asyncio.create_task(scene.forward())
    await until(lambda: bool(scene.connections.sent))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.in_flight == [0, 0, 0]
    assert response.closed == gate_in_body
    assert scene.attempts == [("a", CLIENT_LEFT)]


async def test_failed_attempts_free_their_slots_and_connections() -> None:
    full, good = FakeResponse(503), ok()
    scene = Scene(full, good)
    await scene.forward()
    assert scene.in_flight == [0, 1, 0]
    assert (full.closed, good.closed) == (1, 0)


async def test_a_replica_that_filled_up_meanwhile_is_passed_over_at_no_cost() -> None:
    scene = Scene(ok(), max_attempts=1)
    scene.replicas[0].in_flight = scene.replicas[0].max_concurrent
    await scene.forward()
    assert scene.attempts == [("b", None)]


async def test_when_all_filled_up_nobody_is_asked() -> None:
    scene = Scene()
    for replica in scene.replicas:
        replica.in_flight = replica.max_concurrent
    with pytest.raises(NoReplicaAvailable, match="All replicas of kimi-k2 are at their max_concurrent"):
        await scene.forward()
    assert scene.asked == []


async def test_a_replica_that_a_policy_made_up_is_the_policy_s_failure() -> None:
    scene = Scene(ok())
    with pytest.raises(PolicyFailed, match="not of pool kimi-k2"):
        await scene.forward([make_replica("a")])
    assert scene.asked == []


# Plain answers


async def test_an_answer_that_is_too_long_is_given_up() -> None:
    scene = Scene(ok(b"x" * 11), max_answer_bytes=10)
    with pytest.raises(UpstreamBroken):
        await scene.forward()
    assert scene.in_flight == [0, 0, 0]


async def test_an_error_in_a_plain_answer_is_an_error() -> None:
    scene = Scene(ok(b"broken"))
    with pytest.raises(UpstreamBroken, match="a broken body"):
        await scene.forward()
    assert scene.attempts == [("a", "upstream_broken")]
