from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Copies, CopyLimits, CopyTo, Ending, Outcome
from gateway.dataplane.copying import Copying
from gateway.dataplane.shadowing import Shadowing
from gateway.errors import UpstreamTimeout, UpstreamUnreachable
from tests.unit.builders import make_call, make_pool, make_replica
from tests.unit.fakes import EVENT_STREAM, FakeConnections, FakeResponse


class Watch:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.outcomes: list[Outcome] = []

    def sent(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Stage:
    """A model with two replicas, and copies of a call that go to the second."""

    def __init__(self, *replies: Any, **limits: Any) -> None:
        self.pool = make_pool(make_replica("a"), make_replica("b"))
        self.connections = FakeConnections(*replies)
        self.copying = Copying(self.connections)  # type: ignore[arg-type]
        self.shadowing = Shadowing(self.copying, 1_000)
        self.limits = CopyLimits(**limits)
        self.watches: list[Any] = []

    def offer(self, count: int = 1, watch: Any = None, to: str = "b", **call: Any) -> None:
        watches = [watch or Watch() for _ in range(count)]
        self.watches += watches
        copies = Copies("trial", self.limits, tuple(CopyTo(frozenset({to}), each) for each in watches))
        self.shadowing.offer(copies, make_call(call_id="c" * 32, **call), self.pool)

    async def end(self) -> list[tuple[Ending, str | None]]:
        """Let all copies come to their end; how each did."""
        await asyncio.sleep(700)  # of virtual time
        await self.copying.stop()
        assert [member.replica.in_flight for member in self.pool.members] == [0, 0]
        assert [len(each.outcomes) for each in self.watches] == [1] * len(self.watches), "once each"
        return [(each.outcomes[0].ending, each.outcomes[0].error_code) for each in self.watches]


def plain(text: bytes = b'{"said": 1}') -> FakeResponse:
    return FakeResponse(pieces=[text])


async def test_what_a_client_would_have_got_goes_to_the_watch() -> None:
    stage = Stage(plain())
    stage.offer()
    assert await stage.end() == [(Ending.COMPLETED, None)]
    (watch,) = stage.watches
    assert watch.pieces == [b'{"said": 1}']
    (outcome,) = watch.outcomes
    assert (outcome.status, [each.replica for each in outcome.attempts]) == (200, ["b"])
    assert outcome.first_byte_seconds is not None
    assert [sent.host for sent in stage.connections.sent] == ["b"]


async def test_a_stream_comes_in_pieces_without_what_was_only_asked_for_by_the_gateway() -> None:
    pieces = [b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"]
    stage = Stage(FakeResponse(headers=EVENT_STREAM, pieces=pieces))
    stage.offer(stream=True)
    assert await stage.end() == [(Ending.COMPLETED, None)]
    assert b"".join(stage.watches[0].pieces) == b"".join(pieces)


@pytest.mark.parametrize(
    ("reply", "ending", "code"),
    [
        (FakeResponse(status=503, pieces=[b"no"]), Ending.FAILED, "upstream_overloaded"),
        (FakeResponse(status=400, pieces=[b"no"]), Ending.FAILED, "upstream_refused"),
        (UpstreamUnreachable("refused"), Ending.FAILED, "upstream_unreachable"),
        (UpstreamTimeout("slow"), Ending.TIMED_OUT, "upstream_timeout"),
        (asyncio.Event(), Ending.TIMED_OUT, "late"),
        (plain(b"x" * 1_001), Ending.FAILED, "upstream_broken"),
        (RuntimeError("a bug"), Ending.DISCONNECTED, "crashed"),
    ],
)
async def test_a_failure_is_the_engine_s_and_a_bug_is_nobody_s(reply: Any, ending: Ending, code: str) -> None:
    stage = Stage(reply)
    stage.offer()
    assert await stage.end() == [(ending, code)]
    assert stage.pool.members[1].replica.breaker == "closed"


async def test_all_copies_of_a_call_are_made_or_none() -> None:
    stage = Stage(*[asyncio.Event()] * 3, max_concurrent=3)
    stage.offer(2)
    stage.offer(2)
    stage.offer(1)
    found = await stage.end()
    assert [code for _, code in found] == ["late", "late", "copies", "copies", "late"]
    assert [ending for ending, code in found if code == "copies"] == [Ending.DISCONNECTED] * 2
    assert len(stage.connections.sent) == 3


async def test_nobody_there() -> None:
    stage = Stage()
    stage.offer(to="gone")
    assert await stage.end() == [(Ending.DISCONNECTED, "no_replica")]


async def test_a_client_that_leaves_and_a_call_that_needs_the_slot_end_copies() -> None:
    stage = Stage(*[asyncio.Event()] * 2)
    stage.offer()
    await asyncio.sleep(1)  # of virtual time
    stage.shadowing.leave("another")
    assert stage.watches[0].outcomes == []
    stage.shadowing.leave("c" * 32)
    stage.offer()
    await asyncio.sleep(1)  # of virtual time
    replica = stage.pool.members[1].replica
    replica.slots = 1
    stage.copying.make_room(stage.pool)
    found = await stage.end()
    assert found == [(Ending.DISCONNECTED, "client_left"), (Ending.DISCONNECTED, "room")]


async def test_a_watch_that_crashes_costs_nothing() -> None:
    class Broken:
        def __init__(self) -> None:
            self.outcomes: list[Outcome] = []

        def sent(self, piece: bytes) -> None:
            raise KeyError("inside")

        def ended(self, outcome: Outcome) -> None:
            self.outcomes.append(outcome)
            raise KeyError("inside")

    stage = Stage(plain())
    stage.offer(watch=Broken())
    assert await stage.end() == [(Ending.COMPLETED, None)]
