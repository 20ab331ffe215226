"""Policies that learn are told of each attempt: that it begins, that it is answered, and exactly once that it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import AttemptEnd, Call, Replica
from gateway.dataplane.watching import Watching, watchers_of
from gateway.errors import UpstreamBroken, UpstreamUnreachable
from tests.unit.builders import make_call, make_replica, until
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.dataplane.scene import Scene, stream

DONE = b"data: [DONE]\n\n"
EVENT = b"data: x\n\n"


class Observer:
    """Notes what it is told; `fails` names what it crashes at."""

    def __init__(self, *fails: str) -> None:
        self.seen: list[Any] = []
        self.ends: list[AttemptEnd] = []
        self.fails = fails

    def note(self, what: str, *more: Any) -> None:
        self.seen.append((what, *more))
        if what in self.fails:
            raise RuntimeError(what)

    def placed(self, call: Call, replica: Replica) -> Observer:
        self.note("placed", replica.name, replica.in_flight)
        return self

    def answered(self, seconds: float) -> None:
        assert seconds >= 0
        self.note("answered")

    def ended(self, end: AttemptEnd) -> None:
        self.ends.append(end)
        self.note("ended", end.error_code)


async def watched(*replies: Any, replicas: int = 1, fails: tuple[str, ...] = (), **call: Any) -> Observer:
    observer = Observer(*fails)
    scene = Scene(*replies, replicas=replicas, watchers=[("learning", observer)])
    await scene.serve(**call)
    scene.check_settled_once()
    return observer


async def test_a_stream_is_answered_with_its_first_event_and_over_with_its_last() -> None:
    observer = await watched(stream(EVENT, EVENT, DONE), stream=True)
    assert observer.seen == [("placed", "a", 1), ("answered",), ("ended", None)]
    (end,) = observer.ends
    assert 0 <= (end.first_event_seconds or -1) <= end.seconds
    assert end.events == 3


async def test_a_plain_answer_is_over_at_once_and_tells_what_it_used() -> None:
    observer = await watched(FakeResponse(pieces=[b"{}"]))
    assert observer.seen == [("placed", "a", 1), ("ended", None)]
    assert observer.ends[0].usage is not None
    assert observer.ends[0].usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("first", "code"),
    [(FakeResponse(503), "upstream_overloaded"), (UpstreamUnreachable("no"), "upstream_unreachable")],
)
async def test_each_try_is_told_of_and_how_it_failed(first: Any, code: str) -> None:
    observer = await watched(first, FakeResponse(pieces=[b"{}"]), replicas=2)
    assert observer.seen == [("placed", "a", 1), ("ended", code), ("placed", "b", 1), ("ended", None)]


async def test_a_stream_that_breaks_off_has_not_ended_well() -> None:
    observer = await watched(stream(EVENT, UpstreamBroken("cut")), stream=True)
    assert observer.seen == [("placed", "a", 1), ("answered",), ("ended", "broken_off")]


@pytest.mark.parametrize("pieces", [(), (EVENT,)])
async def test_so_it_is_when_the_client_leaves_before_or_after_the_first_event(pieces: tuple[bytes, ...]) -> None:
    gate = asyncio.Event()
    observer = Observer()
    scene = Scene(stream(*pieces, gate), watchers=[("learning", observer)])
    task = asyncio.create_task(scene.serve(stream=True))
    await until(lambda: len(observer.seen) == 1 + len(pieces))
    scene.client.gone = True
    task.cancel()
    await task
    assert observer.seen[-1] == ("ended", "broken_off" if pieces else "client_left")
    assert len(observer.ends) == 1


@pytest.mark.parametrize("fails", ["placed", "answered", "ended"])
async def test_a_crash_of_theirs_is_no_crash_of_the_call(fails: str) -> None:
    observer = await watched(stream(EVENT, DONE), stream=True, fails=(fails,))
    assert fails in {what for what, *_ in observer.seen}
    assert observer.seen[0][0] == "placed"


async def test_who_watches_nothing_of_a_call_is_told_nothing_more() -> None:
    class Indifferent(Observer):
        def placed(self, call: Call, replica: Replica) -> None:  # type: ignore[override]
            self.note("placed")

    observer = Indifferent()
    await Scene(stream(EVENT, DONE), watchers=[("learning", observer)]).serve(stream=True)
    assert observer.seen == [("placed",)]


def test_times_are_counted_from_when_it_was_sent() -> None:
    now = [100.0]
    observer = Observer()
    watching = Watching([("learning", observer)], make_call(), make_replica(), lambda: now[0])
    now[0] += 2.0
    watching.answered(whole=False)
    now[0] += 3.0
    watching.ended(None)
    watching.ended("client_left")
    assert [(end.first_event_seconds, end.seconds, end.error_code) for end in observer.ends] == [(2.0, 5.0, None)]


def test_who_observes_is_found_out_and_shared_observers_are_told_once() -> None:
    class Learning:
        def __init__(self, *observers: Observer) -> None:
            self.observers = observers

    one, other = Observer(), Observer()
    policies = [("plain", object()), ("first", Learning(one)), ("second", Learning(one, other))]
    assert watchers_of(policies) == (("first", one), ("second", other))
