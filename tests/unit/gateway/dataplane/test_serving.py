from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec
import pytest
import structlog

from gateway import Attribution, Call, Decision, Ending, Outcome, Replica, UpstreamRequest, Usage
from gateway.dataplane.accounting import Accounting
from gateway.dataplane.bookkeeping import Bookkeeping
from gateway.dataplane.forwarder import Forwarder
from gateway.dataplane.recording import Recording
from gateway.dataplane.serving import Serving
from gateway.errors import (
    InvalidRequest,
    QueueTimeout,
    QuotaExceeded,
    UpstreamBroken,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.fleet.pool import PooledFleet
from tests.unit.builders import make_call, make_pool, make_replica, until
from tests.unit.fakes import EVENT_STREAM, FakeBackend, FakeClient, FakeConnections, FakeCounter, FakeResponse

DONE = b"data: [DONE]\n\n"


class Lease:
    def __init__(self, scene: Scene, gate: asyncio.Event | None = None) -> None:
        self.scene, self.gate = scene, gate

    def settle(self, outcome: Outcome) -> Awaitable[None] | None:
        self.scene.settled.append(outcome)
        return self.gate.wait() if self.gate is not None else None  # type: ignore[return-value]


class Scene(Recording):
    """One replica, one admission policy; every stage may be told to misbehave. It is its own recorder."""

    def __init__(self, *replies: Any, replicas: int = 1, settle_gate: asyncio.Event | None = None) -> None:
        super().__init__([])
        self.recorded: list[tuple[Call, Outcome, Decision]] = []
        self.settled: list[Outcome] = []
        self.client = FakeClient()
        self.replicas = [make_replica(name) for name in "abc"[:replicas]]
        self.pool = make_pool(*self.replicas)
        self.connections = FakeConnections(*replies)
        self.fails: dict[str, Exception] = {}
        self.settle_gate = settle_gate
        self.serving = Serving(
            transforms=[("transform", self)],
            admission=[("admission", self)],
            routing=[("routing", self)],
            forwarder=Forwarder(
                self.connections,  # type: ignore[arg-type]
                PooledFleet([self.pool], []),
                [("attribution", self)],
                1_000,
            ),
            books=Bookkeeping(Accounting(FakeCounter()), (), self),
        )

    def put(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        self.recorded.append((call, outcome, decision))

    def _maybe_fail(self, stage: str) -> None:
        if stage in self.fails:
            raise self.fails[stage]

    async def transform(self, call: Call) -> Call:
        self._maybe_fail("transform")
        return msgspec.structs.replace(call, body=call.body + b"!")

    async def admit(self, call: Call) -> Lease:
        self._maybe_fail("admit")
        return Lease(self, self.settle_gate)

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        self._maybe_fail("rank")
        return replicas

    def annotate(self, call: Call, replica: Replica) -> Attribution | None:
        self._maybe_fail("annotate")
        return None

    async def serve(self, **call: Any) -> Outcome:
        await self.serving.serve(make_call(**call), self.pool, self.client)
        return self.outcome

    @property
    def outcome(self) -> Outcome:
        (entry,) = self.recorded
        return entry[1]

    def check_settled_once(self) -> None:
        assert len(self.settled) == len(self.recorded) == 1
        assert self.settled[0] is self.outcome
        assert [replica.in_flight for replica in self.replicas] == [0] * len(self.replicas)
        assert self.client.released == 1


def stream(*pieces: Any) -> FakeResponse:
    return FakeResponse(headers=EVENT_STREAM, pieces=pieces)


async def test_a_call_that_goes_well() -> None:
    scene = Scene(FakeResponse(pieces=[b"the answer"]))
    outcome = await scene.serve(body=b"body")
    scene.check_settled_once()
    assert scene.client.writes == [b"the answer"]
    assert scene.connections.sent[0].body == b"body!"
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.COMPLETED, 200, None)
    assert outcome.usage == Usage(prompt_tokens=1, completion_tokens=10)
    assert 0 <= (outcome.placed_seconds or -1) <= (outcome.first_byte_seconds or -1) <= outcome.total_seconds
    assert scene.recorded[0][2] == Decision(candidates=("a",), steps=(("routing", ("a",)),), chosen="a")


async def test_a_stream_that_goes_well() -> None:
    scene = Scene(stream(b"data: a\n\n", b"data: b\n\n", DONE))
    outcome = await scene.serve(stream=True)
    scene.check_settled_once()
    assert scene.client.complete
    assert (outcome.ending, outcome.streamed_events) == (Ending.COMPLETED, 3)


async def test_waiting_too_long_in_a_queue_is_a_time_out() -> None:
    scene = Scene(FakeResponse(pieces=[b"never"]))
    scene.fails["admit"] = QueueTimeout("too long")
    outcome = await scene.serve()
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.TIMED_OUT, 504, "queue_timeout")


@pytest.mark.parametrize(
    ("stage", "settles"), [("transform", False), ("admit", False), ("rank", True), ("annotate", True)]
)
@pytest.mark.parametrize(
    ("error", "code", "status"),
    [(QuotaExceeded("no more"), "quota_exceeded", 429), (KeyError("inside"), "policy_failed", 500)],
)
async def test_a_stage_that_refuses_or_crashes(
    stage: str, settles: bool, error: Exception, code: str, status: int
) -> None:
    scene = Scene(FakeResponse(pieces=[b"never"]))
    scene.fails[stage] = error
    outcome = await scene.serve()
    assert len(scene.settled) == settles
    assert scene.client.failure is not None
    assert scene.client.failure.code == outcome.error_code == code
    assert (outcome.ending, outcome.status) == (Ending.FAILED, status)
    assert scene.connections.sent == []
    assert scene.replicas[0].in_flight == 0


async def test_a_crash_of_our_own_is_a_failure_like_any_other() -> None:
    scene = Scene(RuntimeError("a bug"))
    outcome = await scene.serve()
    scene.check_settled_once()
    assert (outcome.error_code, outcome.status) == ("internal_error", 500)
    assert "a bug" not in str(scene.client.failure)


async def test_an_engine_that_cannot_be_reached() -> None:
    scene = Scene(UpstreamUnreachable("dead"), UpstreamUnreachable("dead too"), replicas=2)
    outcome = await scene.serve()
    scene.check_settled_once()
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.FAILED, 502, "upstream_unreachable")
    assert [attempt.replica for attempt in outcome.attempts] == ["a", "b"]
    assert scene.recorded[0][2].chosen is None


@pytest.mark.parametrize("answered", [False, True])
async def test_what_was_changed_is_in_the_record_of_a_failed_call_too(
    answered: bool,
) -> None:
    class Edits(FakeBackend):
        def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
            request = super().prepare(call, replica, attempt_id)
            return msgspec.structs.replace(
                request, transforms=(f"for {replica.name}",), dropped_params=(f"{replica.name}_param",)
            )

    last = FakeResponse(pieces=[b"the answer"]) if answered else UpstreamUnreachable("dead too")
    scene = Scene(UpstreamUnreachable("dead"), last, replicas=2)
    scene.pool = make_pool(*scene.replicas, backend=Edits())
    outcome = await scene.serve()
    assert (outcome.transforms, outcome.dropped_params) == (("for b",), ("b_param",))


async def test_an_engine_that_is_silent_is_a_call_that_timed_out() -> None:
    scene = Scene(UpstreamTimeout("late"))
    outcome = await scene.serve()
    assert (outcome.ending, outcome.status) == (Ending.TIMED_OUT, 504)


async def test_a_failure_in_the_middle_of_a_stream_keeps_the_status_that_was_sent() -> None:
    scene = Scene(stream(b"data: a\n\n", UpstreamBroken("cut")))
    outcome = await scene.serve(stream=True)
    scene.check_settled_once()
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.FAILED, 200, "upstream_broken")
    assert outcome.streamed_events == 1
    assert scene.client.failure is not None


async def test_no_replica() -> None:
    scene = Scene()
    scene.replicas[0].in_flight = 4
    outcome = await scene.serve()
    assert (outcome.status, outcome.error_code) == (503, "no_replica_available")
    assert len(scene.settled) == 1


# Clients that leave, and the server's own end


@pytest.mark.parametrize("where", ["before the first byte", "in the middle", "while it is written to"])
async def test_a_client_that_leaves(where: str) -> None:
    gate = asyncio.Event()
    response = stream(gate) if where == "before the first byte" else stream(b"data: a\n\n", gate)
    scene = Scene(response)
    if where == "while it is written to":
        scene.client = FakeClient(write_gate=gate)
    task = asyncio.create_task(scene.serve(stream=True))
    await until(lambda: response.waits != [] and (where == "before the first byte" or scene.client.started))
    scene.client.gone = True
    task.cancel()
    outcome = await task
    scene.check_settled_once()
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.DISCONNECTED, 499, None)
    assert response.closed == 1
    assert not task.cancelling()


async def test_the_server_s_own_cancellation_goes_on_after_the_call_was_settled_and_recorded() -> None:
    scene = Scene(stream(b"data: a\n\n", asyncio.Event()))
    task = asyncio.create_task(scene.serve(stream=True))
    await until(lambda: scene.client.started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.check_settled_once()


async def test_a_cancellation_while_leases_are_settled_loses_neither_lease_nor_record() -> None:
    gate = asyncio.Event()
    scene = Scene(FakeResponse(pieces=[b"the answer"]), settle_gate=gate)
    task = asyncio.create_task(scene.serve())
    await until(lambda: len(scene.settled) == 1)
    task.cancel()
    await asyncio.sleep(0)
    assert scene.recorded == []
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.check_settled_once()
    assert scene.outcome.ending is Ending.COMPLETED


async def test_a_client_that_left_while_it_was_told_of_a_failure() -> None:
    scene = Scene(UpstreamUnreachable("dead"))

    async def fail(error: Exception, outcome: Outcome) -> None:
        scene.client.gone = True
        raise asyncio.CancelledError

    scene.client.fail = fail  # type: ignore[method-assign]
    outcome = await scene.serve()
    scene.check_settled_once()
    assert (outcome.ending, outcome.status) == (Ending.DISCONNECTED, 499)


async def test_what_ended_calls_have_left_to_do_is_waited_for_but_not_for_ever() -> None:
    never, answered = asyncio.Event(), FakeResponse(pieces=[b"{}"])
    scene = Scene(UpstreamTimeout("late"), answered, UpstreamTimeout("late"), never)
    scene.pool = make_pool(*scene.replicas, backend=FakeBackend(must_be_told=True))
    await scene.serve()
    await scene.serving.finish(1)
    assert answered.closed == 1
    scene.recorded.clear()
    await scene.serve()
    async with asyncio.timeout(3):
        await scene.serving.finish(1)
    assert [sent.target for sent in scene.connections.sent] == [b"/generate", b"/abort"] * 2


# The log


async def test_a_failed_call_is_logged_once_with_its_reason() -> None:
    scene = Scene()
    scene.fails["admit"] = InvalidRequest("the reason")
    with structlog.testing.capture_logs() as logs:
        await scene.serve()
    (line,) = [line for line in logs if line["event"] == "call failed"]
    assert (line["log_level"], line["error"], line["reason"]) == ("info", "invalid_request", "the reason")
