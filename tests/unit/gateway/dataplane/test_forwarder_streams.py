from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Attribution, Call, Ending, Outcome, Replica
from gateway.dataplane import attempting
from gateway.dataplane.attempting import Answer
from gateway.dataplane.forwarder import Forwarder
from gateway.errors import PolicyFailed, Rejected, UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamTimeout
from gateway.fleet.pooled_fleet import PooledFleet
from tests.unit.builders import make_call, make_pool, make_replica
from tests.unit.fakes import EVENT_STREAM, FakeConnections, FakeResponse, Piece

DONE = b"data: [DONE]\n\n"


class Scene:
    """Two replicas, and the streams that their engines answer with."""

    def __init__(self, *responses: FakeResponse, attribution: Any = ()) -> None:
        self.replicas = [make_replica(name) for name in "ab"]
        self.pool = make_pool(*self.replicas)
        self.connections = FakeConnections(*responses)
        fleet = PooledFleet([self.pool], [])
        self.forwarder = Forwarder(self.connections, fleet, attribution, 1_000)  # type: ignore[arg-type]
        self.outcome = Outcome(ending=Ending.FAILED, status=0)

    async def forward(self, *, stream: bool = True) -> Answer:
        return await self.forwarder.forward(make_call(stream=stream), self.pool, self.replicas, self.outcome)

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        return [(attempt.replica, attempt.error_code) for attempt in self.outcome.attempts]


def stream(*pieces: Piece, headers: Any = EVENT_STREAM) -> FakeResponse:
    return FakeResponse(headers=headers, pieces=pieces)


# The first event decides


async def test_a_stream_is_accepted_with_its_first_event_and_read_no_further() -> None:
    response = stream(b"data: a\n\n", b"data: b\n\n", DONE)
    answer = await Scene(response).forward()
    assert answer.first == b"data: a\n\n"
    assert answer.cutter is not None
    assert response.unread == 2


async def test_an_error_in_the_first_event_is_a_failure_although_the_engine_said_200() -> None:
    scene = Scene(stream(b"data: full\n\n"), stream(b"data: a\n\n"))
    answer = await scene.forward()
    assert answer.member.replica.name == "b"
    assert scene.attempts == [("a", "upstream_overloaded"), ("b", None)]


async def test_an_error_in_all_first_events_is_an_error() -> None:
    scene = Scene(stream(b"data: full\n\n"), stream(b"data: full\n\n"))
    with pytest.raises(UpstreamOverloaded):
        await scene.forward()
    assert [replica.in_flight for replica in scene.replicas] == [0, 0]


async def test_comments_before_the_first_event_are_held_back_and_then_kept() -> None:
    answer = await Scene(stream(b": queued\n\n", b": queued\n\n", b"data: a\n\n")).forward()
    assert answer.first == b": queued\n\n: queued\n\ndata: a\n\n"


async def test_comments_do_not_stand_in_the_way_of_a_retry() -> None:
    answer = await Scene(stream(b": queued\n\n", b"data: full\n\n"), stream(b"data: a\n\n")).forward()
    assert answer.first == b"data: a\n\n"


async def test_an_event_in_pieces_is_waited_for() -> None:
    answer = await Scene(stream(b"da", b"ta: a\n", b"\ndata: b", b"\n\n")).forward()
    assert answer.first == b"data: a\n\n"
    assert answer.cutter is not None
    assert answer.cutter.cut(b"\n\n") == b"data: b\n\n"


async def test_all_that_came_with_the_first_event_goes_out_with_it() -> None:
    answer = await Scene(stream(b"data: a\n\ndata: full\n\n" + DONE)).forward()
    assert answer.first == b"data: a\n\ndata: full\n\n" + DONE
    assert answer.meter.end_events() is None


async def test_a_late_error_that_came_with_the_first_event_is_still_an_early_one() -> None:
    scene = Scene(stream(b"data: a\n\ndata: late error\n\n"))
    with pytest.raises(UpstreamBroken, match="late error"):
        await scene.forward()
    assert scene.attempts == [("a", "upstream_broken")]


@pytest.mark.parametrize("pieces", [[], [b": comment\n\n"], [b"data: a"], [b"data: a\n"]])
async def test_a_stream_that_ends_before_its_first_event_is_broken(pieces: list[Piece]) -> None:
    with pytest.raises(UpstreamBroken, match="closed the stream before its first event"):
        await Scene(stream(*pieces)).forward()


@pytest.mark.parametrize("headers", [((b"content-type", b"application/json"),), ()])
async def test_a_stream_that_is_no_event_stream_is_broken(headers: Any) -> None:
    with pytest.raises(UpstreamBroken, match="answered a stream with"):
        await Scene(stream(b"{}", headers=headers)).forward()


async def test_the_parameters_of_the_content_type_do_not_matter() -> None:
    headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)
    assert (await Scene(stream(b"data: a\n\n", headers=headers)).forward()).cutter


async def test_a_first_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempting, "MAX_EVENT_BYTES", 100)
    with pytest.raises(UpstreamBroken, match="an event of over 100 bytes"):
        await Scene(stream(*[b"data: " + b"x" * 20] * 10)).forward()


async def test_comments_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempting, "MAX_EVENT_BYTES", 100)
    with pytest.raises(UpstreamBroken, match="100 bytes without an event"):
        await Scene(stream(*[b": comment\n\n"] * 20)).forward()


async def test_the_first_byte_timeout_is_meant_for_the_first_event() -> None:
    response = stream(b": queued\n\n", b": queued\n\n", b"data: a\n\n")
    await Scene(response).forward()
    assert all(wait is not None and 299 < wait <= 300 for wait in response.waits)
    assert response.waits == sorted(response.waits, key=lambda wait: -(wait or 0))


async def test_a_first_event_that_does_not_come_is_a_timeout_and_the_next_replica_s_turn() -> None:
    scene = Scene(stream(asyncio.Event()), stream(b"data: a\n\n"))
    await scene.forward()
    assert scene.attempts == [("a", UpstreamTimeout.code), ("b", None)]


@pytest.mark.parametrize("failure", [UpstreamTimeout("idle"), UpstreamOverloaded("reset")])
async def test_a_failure_while_comments_come_can_be_tried_elsewhere(failure: UpstreamError) -> None:
    scene = Scene(stream(b": queued\n\n", failure), stream(b"data: a\n\n"))
    assert (await scene.forward()).first == b"data: a\n\n"
    assert [replica.in_flight for replica in scene.replicas] == [0, 1]


# Attribution


class Policy:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.seen: list[str] = []

    def annotate(self, call: Call, replica: Replica) -> Attribution | None:
        self.seen.append(replica.name)
        if isinstance(self.answer, Exception):
            raise self.answer
        found: Attribution | None = self.answer
        return found


async def test_attribution_is_asked_for_per_attempt_and_kept_for_the_replica_that_serves() -> None:
    one, two = Policy(Attribution(((b"x-one", b"1"),))), Policy(None)
    scene = Scene(FakeResponse(503), stream(b"data: a\n\n"), attribution=[("one", one), ("two", two)])
    answer = await scene.forward()
    assert one.seen == two.seen == ["a", "b"]
    assert answer.attribution == (Attribution(((b"x-one", b"1"),)),)


async def test_a_crash_in_attribution_refuses_the_call_before_the_engine_is_asked() -> None:
    scene = Scene(stream(b"data: a\n\n"), attribution=[("wild", Policy(KeyError("inside")))])
    with pytest.raises(PolicyFailed, match="attribution policy wild crashed"):
        await scene.forward()
    assert scene.connections.sent == []
    assert [replica.in_flight for replica in scene.replicas] == [0, 0]


async def test_attribution_may_refuse() -> None:
    scene = Scene(stream(b"data: a\n\n"), attribution=[("strict", Policy(Rejected("not for you")))])
    with pytest.raises(Rejected):
        await scene.forward()
    assert scene.connections.sent == []
