from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Model, Operation, ReplicaState
from gateway.dataplane.copying import MARK, Copying
from gateway.dataplane.mirror_counts import MOST_REPLICAS, MirrorCounts
from gateway.dataplane.mirroring import Mirror, Mirroring
from gateway.errors import UpstreamUnreachable
from gateway.fleet.pool import Pool
from gateway.settings import MirrorSettings
from tests.unit.builders import CHECKPOINT, make_call, make_pool, make_replica
from tests.unit.fakes import EVENT_STREAM, FakeBackend, FakeConnections, FakeResponse

SHADOW = Model("shadow", (), CHECKPOINT)
KEY = b"k" * 32


class Stage:
    """A model whose calls are copied to another, and an engine that answers as told."""

    def __init__(self, *replies: Any, pool: Pool | None = None, **settings: Any) -> None:
        self.source = make_pool(make_replica("a", max_concurrent=10))
        self.shadow = pool or make_pool(make_replica("b"), make_replica("c"), model=SHADOW)
        self.counts = MirrorCounts()
        self.connections = FakeConnections(*replies)
        wanted = MirrorSettings(**{"to": "shadow", "share": 1.0, **settings})
        self.mirror = Mirror(wanted, self.shadow, self.counts, KEY)
        self.begin()

    def begin(self, *clock: Any) -> None:
        self.copying = Copying(self.connections, *clock)  # type: ignore[arg-type]
        self.mirroring = Mirroring(self.copying, {"kimi-k2": self.mirror})

    def offer(self, number: int = 0, **call: Any) -> None:
        self.mirroring.offer(make_call(call_id=f"{number:032x}", **call), self.source)

    async def end(self) -> None:
        """Let all copies come to their end."""
        await asyncio.gather(*(copy.task for copy in self.mirror.lane.copies if copy.task), return_exceptions=True)
        await self.copying.stop()
        assert self.mirror.lane.held_bytes == 0
        assert [member.replica.in_flight for member in self.shadow.members] == [0] * len(self.shadow.members)

    @property
    def ended(self) -> dict[str, int]:
        return dict(self.counts.ended)


def plain() -> FakeResponse:
    return FakeResponse(pieces=[b'{"choices":[]}', b" " * 1_000])


def stream(*pieces: Any) -> FakeResponse:
    return FakeResponse(headers=EVENT_STREAM, pieces=pieces)


async def test_a_copy_is_sent_marked_and_its_answer_read_to_the_end() -> None:
    reply = plain()
    stage = Stage(reply)
    stage.offer()
    assert stage.connections.sent == []  # the call itself goes first
    await stage.end()
    (sent,) = stage.connections.sent
    assert sent.host == "b"
    assert MARK in sent.headers
    assert (reply.unread, reply.closed) == (0, 1)
    assert (stage.counts.sent, stage.ended) == (1, {"served": 1})
    assert sum(stage.counts.first_event("b").counts) == 1


async def test_a_stream_is_timed_by_its_first_event_and_read_to_the_end() -> None:
    reply = stream(b": wait\n\n", b"data: x\n\n", asyncio.Event(), b"data: [DONE]\n\n")
    gate = reply._pieces[2]
    assert isinstance(gate, asyncio.Event)
    stage = Stage(reply)
    stage.offer(stream=True)
    await asyncio.sleep(5)  # of virtual time
    assert sum(stage.counts.first_event("b").counts) == 1
    assert stage.ended == {}
    gate.set()
    await stage.end()
    assert stage.ended == {"served": 1}
    assert reply.unread == 0


async def test_a_share_is_chosen_by_the_call_id_and_a_key_that_nobody_knows() -> None:
    stage = Stage(share=0.25)
    ids = [f"{number:032x}" for number in range(4_000)]
    chosen = {each for each in ids if stage.mirror.takes(each)}
    assert len(chosen) == pytest.approx(1_000, rel=0.1)
    assert chosen == {each for each in ids if stage.mirror.takes(each)}
    other = Mirror(stage.mirror.settings, stage.shadow, stage.counts, b"other")
    assert len(chosen & {each for each in ids if other.takes(each)}) == pytest.approx(250, rel=0.3)


async def test_calls_of_other_models_are_not_copied() -> None:
    stage = Stage()
    stage.offer(model=SHADOW)
    await stage.end()
    assert (stage.counts.sent, dict(stage.counts.dropped)) == (0, {})


@pytest.mark.parametrize(
    ("reply", "how"),
    [
        (FakeResponse(status=503, pieces=[b"secret"]), "upstream_overloaded"),
        (FakeResponse(status=400, pieces=[b"no"]), "upstream_refused"),
        (UpstreamUnreachable("refused"), "upstream_unreachable"),
        (RuntimeError("a bug"), "crashed"),
        (stream(b"data: full\n\n"), "upstream_overloaded"),
    ],
)
async def test_a_copy_that_fails_is_counted_and_never_tried_again(reply: Any, how: str) -> None:
    stage = Stage(reply)
    stage.offer(stream=isinstance(reply, FakeResponse) and reply.headers is EVENT_STREAM)
    await stage.end()
    assert (stage.counts.sent, stage.ended) == (1, {how: 1})
    assert len(stage.connections.sent) == 1
    assert stage.shadow.members[0].replica.breaker == "closed"


async def test_copies_are_bounded_in_number_and_in_bytes() -> None:
    stage = Stage(*[asyncio.Event()] * 9, max_concurrent=3)
    for number in range(5):
        stage.offer(number)
    assert len(stage.mirror.lane.copies) == 3
    assert dict(stage.counts.dropped) == {"copies": 2}
    await stage.copying.stop()
    stage = Stage(*[asyncio.Event()] * 9, max_bytes=2_000)
    for number in range(5):
        stage.offer(number, body=b"x" * 800)
    assert stage.mirror.lane.held_bytes == 1_600
    assert dict(stage.counts.dropped) == {"bytes": 3}
    await stage.copying.stop()
    assert stage.mirror.lane.held_bytes == 0


async def test_a_copy_that_hangs_ends_by_its_time() -> None:
    stage = Stage(asyncio.Event(), total_seconds=30.0)
    stage.offer()
    await stage.end()
    assert stage.ended == {"late": 1}


async def test_an_engine_that_must_be_told_is_told_that_a_copy_is_over() -> None:
    told = FakeResponse(pieces=[b"{}"])
    backend = FakeBackend()
    backend.must_be_told = True
    pool = make_pool(make_replica("b"), backend=backend, model=SHADOW)
    stage = Stage(asyncio.Event(), told, pool=pool)
    stage.offer()
    await asyncio.sleep(1)  # of virtual time
    await stage.copying.stop()
    assert [sent.target for sent in stage.connections.sent] == [b"/generate", b"/abort"]
    assert told.closed == 1


async def test_a_stop_ends_all_copies_even_those_that_have_not_begun() -> None:
    stage = Stage(asyncio.Event(), asyncio.Event())
    stage.offer(1)
    await asyncio.sleep(1)  # of virtual time
    stage.offer(2)
    await stage.copying.stop()
    await stage.end()
    assert stage.ended == {"stopped": 2}


async def test_a_call_gets_the_slot_that_a_copy_has() -> None:
    stage = Stage(asyncio.Event(), pool=make_pool(make_replica("b", max_concurrent=1), model=SHADOW))
    replica = stage.shadow.members[0].replica
    stage.offer()
    await asyncio.sleep(1)  # of virtual time
    assert stage.shadow.available(Operation.CHAT) == []
    stage.copying.make_room(stage.source)
    assert replica.in_flight == 1
    stage.copying.make_room(stage.shadow)
    assert stage.shadow.available(Operation.CHAT) == [replica]
    slot = stage.shadow.take(stage.shadow.members[0])
    await asyncio.sleep(1)  # of virtual time
    assert stage.mirror.lane.copies == set()
    assert replica.in_flight == 1  # the copy has given nothing back twice
    slot.release()
    await stage.end()
    assert stage.ended == {"room": 1}


async def test_nothing_is_copied_while_the_model_has_enough_to_do_and_copies_then_end() -> None:
    stage = Stage(asyncio.Event(), busy_share=0.5)
    replica = stage.source.members[0].replica
    replica.in_flight = 4
    stage.offer(1)
    await asyncio.sleep(1)  # of virtual time
    assert len(stage.mirror.lane.copies) == 1
    replica.in_flight = 5
    stage.offer(2)
    await stage.end()
    assert dict(stage.counts.dropped) == {"load": 1}
    assert stage.ended == {"load": 1}


class Behind:
    """A clock that is as much further on whenever it is looked at."""

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds = step_seconds
        self._now = 0.0

    def __call__(self) -> float:
        self._now += self.step_seconds
        return self._now


async def test_nothing_is_copied_while_the_event_loop_is_behind() -> None:
    stage = Stage(asyncio.Event(), plain())
    clock = Behind(0.15)
    stage.begin(clock)
    stage.offer(1)
    await asyncio.sleep(1)  # of virtual time
    assert stage.ended == {}
    clock.step_seconds = 0.5
    await asyncio.sleep(1)  # of virtual time
    assert stage.ended == {"busy": 1}
    stage.offer(2)
    assert dict(stage.counts.dropped) == {"busy": 1}
    await stage.copying.stop()


async def test_the_replica_with_the_most_room_gets_it_among_those_that_are_well_and_wanted() -> None:
    names = ("full", "down", "tried", "other", "new-1", "new-2")
    pool = make_pool(*(make_replica(name) for name in names), model=SHADOW)
    by_name = {member.replica.name: member.replica for member in pool.members}
    by_name["full"].in_flight = 4
    by_name["down"].state = ReplicaState.UNREACHABLE
    by_name["tried"].breaker = "half_open"
    by_name["new-1"].in_flight = 2
    by_name["new-2"].in_flight = 1

    async def sent_to(**settings: Any) -> list[str]:
        stage = Stage(plain(), pool=pool, **settings)
        stage.offer()
        await asyncio.sleep(1)  # of virtual time
        return [sent.host for sent in stage.connections.sent]

    assert await sent_to(replicas=("new-*", "full", "down", "tried")) == ["new-2"]
    assert await sent_to() == ["other"]
    by_name["new-1"].in_flight = by_name["new-2"].in_flight = 4
    assert await sent_to(replicas=("new-*",)) == []


async def test_a_call_that_nobody_there_can_serve_is_dropped() -> None:
    cannot = make_replica("b", operations=frozenset({Operation.COMPLETIONS}))
    stage = Stage(pool=make_pool(cannot, model=SHADOW))
    stage.offer()
    await stage.end()
    assert dict(stage.counts.dropped) == {"no_replica": 1}

    class Objecting(FakeBackend):
        def objection(self, call: Any, replica: Any) -> str | None:
            return "not as asked"

    stage = Stage(pool=make_pool(make_replica("b"), backend=Objecting(), model=SHADOW))
    stage.offer()
    await stage.end()
    assert dict(stage.counts.dropped) == {"unfit": 1}
    assert stage.ended == {}


async def test_what_is_counted_and_that_it_stays_bounded() -> None:
    stage = Stage(plain())
    stage.offer()
    await stage.end()
    metrics = {metric.name: dict(metric.samples) for metric in stage.mirroring.metrics()}
    assert metrics["moegate_mirror_sent"] == {("kimi-k2",): 1}
    assert metrics["moegate_mirror_ended"] == {("kimi-k2", "served"): 1}
    assert metrics["moegate_mirror_in_flight"] == {("kimi-k2",): 0}
    assert metrics["moegate_mirror_held_bytes"] == {("kimi-k2",): 0}
    assert list(metrics["moegate_mirror_first_event_seconds"]) == [("kimi-k2", "b")]
    for number in range(MOST_REPLICAS + 50):
        stage.counts.first_event(f"pod-{number}").observe(0.1)
    assert len(stage.counts.first_events) == MOST_REPLICAS + 1
