from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from gateway import Ending, Outcome, Replica, UpstreamRequest
from gateway.dataplane import aborts
from gateway.dataplane.aborts import Aborts
from gateway.dataplane.attempting import Answer
from gateway.dataplane.forwarder import Forwarder
from gateway.errors import GatewayError, UpstreamBroken, UpstreamOverloaded, UpstreamTimeout, UpstreamUnreachable
from gateway.fleet.pool import Pool
from gateway.fleet.pooled_fleet import PooledFleet
from tests.unit.builders import make_call, make_member, make_replica, until
from tests.unit.fakes import EVENT_STREAM, FakeBackend, FakeConnections, FakeResponse, Piece

DONE = b"data: [DONE]\n\n"


class Scene:
    """Replicas a and b of a kind that must be told, behind one forwarder."""

    def __init__(self, *replies: Any, must_be_told: bool = True) -> None:
        self.backend = FakeBackend(must_be_told=must_be_told)
        self.replicas = [make_replica(name) for name in "ab"]
        members = [make_member(replica, self.backend, base_path="/base") for replica in self.replicas]
        self.pool = Pool(make_call().model, members, 3)
        self.connections = FakeConnections(*replies)
        self.forwarder = Forwarder(self.connections, PooledFleet([self.pool], []), (), 1_000)  # type: ignore[arg-type]

    async def forward(self, replicas: list[Replica] | None = None, *, stream: bool = False) -> Answer:
        outcome = Outcome(ending=Ending.FAILED, status=0)
        return await self.forwarder.forward(make_call(stream=stream), self.pool, replicas or self.replicas[:1], outcome)

    async def aborted(self) -> list[tuple[str, bytes]]:
        """Which engine was told to abort which attempt."""
        await self.forwarder.aborts.finish()
        return [(sent.host, sent.body[-2:]) for sent in self.connections.sent if sent.target == b"/base/abort"]


def stream(*pieces: Piece) -> FakeResponse:
    return FakeResponse(headers=EVENT_STREAM, pieces=pieces)


OK = FakeResponse()


# When an attempt is given up


@pytest.mark.parametrize(
    "reply", [UpstreamTimeout("late"), UpstreamBroken("cut"), RuntimeError("a bug"), FakeResponse(pieces=[b"broken"])]
)
async def test_an_attempt_that_fails_on_our_side_is_aborted(reply: Any) -> None:
    scene = Scene(reply, OK)
    with pytest.raises((GatewayError, RuntimeError)):
        await scene.forward()
    assert await scene.aborted() == [("a", b"-1")]


@pytest.mark.parametrize(
    "reply",
    [UpstreamUnreachable("dead"), UpstreamOverloaded("full"), FakeResponse(503), FakeResponse(400, pieces=[b"no"])],
)
async def test_one_that_the_engine_refused_or_never_had_is_not(reply: Any) -> None:
    scene = Scene(reply, OK)
    with pytest.raises(GatewayError):
        await scene.forward()
    assert await scene.aborted() == []


async def test_a_refusal_in_the_first_event_is_no_reason_either() -> None:
    scene = Scene(stream(b"data: full\n\n"))
    with pytest.raises(UpstreamOverloaded):
        await scene.forward(stream=True)
    assert await scene.aborted() == []


async def test_the_engine_that_was_given_up_is_told_and_not_the_one_that_answers() -> None:
    scene = Scene(UpstreamTimeout("late"), FakeResponse(pieces=[b"{}"]), OK)
    answer = await scene.forward(scene.replicas)
    answer.close()
    assert answer.member.replica.name == "b"
    assert await scene.aborted() == [("a", b"-1")]


@pytest.mark.parametrize("in_body", [False, True])
async def test_a_cancelled_attempt_is_aborted(in_body: bool) -> None:
    gate = asyncio.Event()
    scene = Scene(*([FakeResponse(pieces=[gate])] if in_body else [gate]), OK)
    task = asyncio.create_task(scene.forward())
    await until(lambda: bool(scene.connections.sent))
    await asyncio.sleep(0)
    if not in_body:
        scene.connections.script(OK)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await scene.aborted() == [("a", b"-1")]


# When an answer is given up


@pytest.mark.parametrize(("finished", "expected"), [(False, [("a", b"-1")]), (True, [])])
async def test_a_stream_that_is_closed_before_its_end_is_aborted(
    finished: bool, expected: list[tuple[str, bytes]]
) -> None:
    scene = Scene(stream(b"data: a\n\n", DONE), OK)
    answer = await scene.forward(stream=True)
    answer.finished = finished
    answer.close()
    assert await scene.aborted() == expected


async def test_a_plain_answer_is_whole_when_it_is_there() -> None:
    scene = Scene(FakeResponse(pieces=[b"{}"]))
    (await scene.forward()).close()
    assert await scene.aborted() == []


# Engines that notice a closed connection


async def test_an_engine_that_notices_is_not_told() -> None:
    scene = Scene(UpstreamTimeout("late"), must_be_told=False)
    with pytest.raises(UpstreamTimeout):
        await scene.forward()
    assert await scene.aborted() == []


# What becomes of an abort


def told(connections: FakeConnections, times: int = 1, backend: FakeBackend | None = None) -> Aborts:
    """Aborts on their way."""
    sender = Aborts(connections)  # type: ignore[arg-type]
    member = make_member(make_replica("a"), backend or FakeBackend(must_be_told=True))
    for _ in range(times):
        sender.send(member, UpstreamRequest("/generate", ((b"x-attempt", b"1"),), b""))
    return sender


async def test_its_answer_is_read_to_the_end_so_that_the_connection_can_be_kept() -> None:
    response = FakeResponse(pieces=[b"{", b"}"])
    await told(FakeConnections(response)).finish()
    assert (response.unread, response.closed) == (0, 1)


@pytest.mark.parametrize(
    "reply",
    [
        UpstreamUnreachable("dead"),
        ValueError("a header"),
        RuntimeError("a bug"),
        FakeResponse(500, pieces=[b"no"]),
        FakeResponse(pieces=[b"x" * (aborts.MAX_ANSWER_BYTES + 1)]),
    ],
)
async def test_no_failure_of_it_is_more_than_a_line_for_those_who_look_closely(reply: Any) -> None:
    with structlog.testing.capture_logs() as logs:
        await told(FakeConnections(reply)).finish()
    assert [line["log_level"] for line in logs] == ["debug"]


async def test_a_backend_that_crashes_on_it_disturbs_nobody() -> None:
    class Crashes(FakeBackend):
        def abort(self, request: UpstreamRequest) -> UpstreamRequest | None:
            raise RuntimeError("a bug")

    connections = FakeConnections()
    with structlog.testing.capture_logs() as logs:
        await told(connections, backend=Crashes()).finish()
    assert [(line["event"], line["log_level"]) for line in logs] == [("backend crashed", "error")]
    assert connections.sent == []


async def test_an_engine_that_does_not_answer_it_is_not_waited_for() -> None:
    loop, never = asyncio.get_running_loop(), asyncio.Event()
    started = loop.time()
    sender = told(FakeConnections(never))
    await sender.finish(1_000)
    assert loop.time() - started == pytest.approx(aborts.SECONDS, abs=1)


async def test_a_stop_waits_no_longer_than_it_was_told() -> None:
    loop, never = asyncio.get_running_loop(), asyncio.Event()
    started = loop.time()
    await told(FakeConnections(never)).finish(1)
    assert loop.time() - started == pytest.approx(1, abs=0.5)


async def test_there_are_never_more_than_so_many_on_their_way() -> None:
    gate = asyncio.Event()
    connections = FakeConnections(*[gate] * aborts.MOST_AT_ONCE)
    sender = told(connections, aborts.MOST_AT_ONCE + 10)
    await until(lambda: len(connections.sent) == aborts.MOST_AT_ONCE)
    connections.script(*[FakeResponse() for _ in range(aborts.MOST_AT_ONCE + 1)])
    gate.set()
    await sender.finish()
    assert len(connections.sent) == aborts.MOST_AT_ONCE
    member = make_member(make_replica("a"), FakeBackend(must_be_told=True))
    sender.send(member, UpstreamRequest("/generate", ((b"x-attempt", b"1"),), b""))
    await sender.finish()
    assert len(connections.sent) == aborts.MOST_AT_ONCE + 1
