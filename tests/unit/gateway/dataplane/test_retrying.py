"""How often a call is tried again, how long it waits for that, and what else than a failure may be tried again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from gateway import Ending, Operation, Outcome
from gateway.dataplane.attempting import Answer
from gateway.dataplane.forwarder import JITTER_SHARE, Forwarder
from gateway.errors import EmptyAnswer, UpstreamBroken, UpstreamOverloaded, UpstreamRefused, UpstreamUnreachable
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.fleet.retries import Retries
from gateway.settings import RetrySettings
from tests.unit.builders import make_call, make_pool, make_replica
from tests.unit.fakes import EVENT_STREAM, JSON, FakeConnections, FakeResponse, Piece

FULL = UpstreamOverloaded("full")


class Scene:
    """Two replicas, what their engines answer, and a budget."""

    def __init__(self, *replies: Any, max_attempts: int = 9, **settings: Any) -> None:
        self.replicas = [make_replica(name) for name in "ab"]
        self.retries = Retries(RetrySettings(**settings))
        self.pool = make_pool(*self.replicas, max_attempts=max_attempts, retries=self.retries)
        self.connections = FakeConnections(*replies)
        self.forwarder = Forwarder(self.connections, PooledFleet([self.pool], []), (), 10_000)  # type: ignore[arg-type]
        self.outcome = Outcome(ending=Ending.FAILED, status=0)

    async def forward(self, **call: Any) -> Answer:
        self.outcome = Outcome(ending=Ending.FAILED, status=0)
        return await self.forwarder.forward(make_call(**call), self.pool, self.replicas, self.outcome)

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        return [(attempt.replica, attempt.error_code) for attempt in self.outcome.attempts]


def ok() -> FakeResponse:
    return FakeResponse(pieces=[b"{}"])


def busy(seconds: bytes | None) -> FakeResponse:
    return FakeResponse(503, headers=JSON if seconds is None else ((b"retry-after", seconds),))


# The budget


async def test_without_a_budget_the_first_failure_is_the_call_s_end() -> None:
    scene = Scene(FULL, ok(), budget_share=0.0, minimum_calls=0)
    with pytest.raises(UpstreamOverloaded):
        await scene.forward()
    assert scene.attempts == [("a", "upstream_overloaded")]
    assert scene.retries.budget.refused == {"upstream_overloaded": 1}


async def test_a_brown_out_is_not_doubled() -> None:
    """Half of the fleet fails every call: a fifth of the calls is tried again, and no more."""
    calls = 100
    replies = [reply for _ in range(calls) for reply in (FULL, ok())]
    scene = Scene(*replies, budget_share=0.2, minimum_calls=0)
    for _ in range(calls):
        scene.connections.script(FULL, ok())
        with contextlib.suppress(UpstreamOverloaded):
            (await scene.forward()).close()
    assert len(scene.connections.sent) == calls * 1.2
    assert scene.retries.budget.made.total() == calls * 0.2


async def test_why_an_attempt_failed_and_how_long_it_took_is_kept() -> None:
    scene = Scene(UpstreamUnreachable("a:80: refused"), ok())
    await scene.forward(received_at=time.monotonic())
    first, second = scene.outcome.attempts
    assert (first.error_code, first.reason) == ("upstream_unreachable", "refused")
    assert 0 <= first.began_seconds <= second.began_seconds < 60
    assert (second.error_code, second.reason) == (None, "")


async def test_what_an_engine_says_of_a_request_is_not_kept() -> None:
    scene = Scene(FakeResponse(400, pieces=[b"a piece of the prompt"]))
    with pytest.raises(UpstreamRefused):
        await scene.forward()
    assert scene.outcome.attempts[0].reason == ""


# An engine's Retry-After


async def test_when_all_are_busy_the_first_to_come_back_is_waited_for() -> None:
    scene = Scene(busy(b"3"), busy(b"2"), ok(), longest_pause_seconds=5.0)
    before = asyncio.get_running_loop().time()
    task = asyncio.create_task(scene.forward())
    await asyncio.sleep(1.9)
    assert not task.done()
    # The virtual clock has passed the pause; the machine's must have as well.
    scene.pool.members[1].condition.advance(time.monotonic() + 2.0)
    answer = await task
    waited = asyncio.get_running_loop().time() - before
    assert answer.member.replica.name == "b"
    assert waited >= 1.9
    assert waited <= 2.0 * (1 + JITTER_SHARE) + 0.5
    assert scene.retries.pauses == 1
    assert [name for name, _ in scene.attempts] == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("replies", "settings"),
    [
        ([busy(b"3"), busy(b"3")], {"longest_pause_seconds": 2.0}),
        ([busy(b"1"), busy(b"1")], {"longest_pause_seconds": 0.0}),
        ([busy(None), busy(b"1")], {}),
        ([busy(b"soon"), busy(b"1")], {}),
        ([FULL, FULL], {}),
    ],
    ids=["too long", "never", "one did not say", "no number", "nobody said"],
)
async def test_else_nobody_is_waited_for(replies: list[Any], settings: dict[str, Any]) -> None:
    scene = Scene(*replies, **settings)
    with pytest.raises(UpstreamOverloaded):
        await scene.forward()
    assert (len(scene.attempts), scene.retries.pauses) == (2, 0)


async def test_a_dead_replica_is_no_reason_to_wait() -> None:
    scene = Scene(UpstreamUnreachable("refused"), busy(b"1"))
    with pytest.raises(UpstreamOverloaded):
        await scene.forward()
    assert scene.retries.pauses == 0


async def test_the_engine_s_own_word_reaches_the_client_and_holds_for_other_calls() -> None:
    scene = Scene(busy(b"7"), busy(b"9"))
    with pytest.raises(UpstreamOverloaded) as caught:
        await scene.forward()
    assert caught.value.retry_after_seconds == 9
    assert scene.pool.available(Operation.CHAT) == []


# Empty answers

EMPTY = b'{"choices":[{"message":{"role":"assistant","content":"","tool_calls":null}}]}'
GOOD = b'{"choices":[{"message":{"role":"assistant","content":"hi"}}]}'
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def plain(body: bytes) -> FakeResponse:
    return FakeResponse(pieces=[body])


def stream(*pieces: Piece) -> FakeResponse:
    return FakeResponse(headers=EVENT_STREAM, pieces=pieces)


@pytest.mark.parametrize(
    ("empty", "good", "streamed"),
    [(plain(EMPTY), plain(GOOD), False), (stream(ROLE, DONE), stream(ROLE, WORD, DONE), True)],
    ids=["plain", "stream"],
)
async def test_an_empty_answer_is_tried_elsewhere_if_the_configuration_says_so(
    empty: FakeResponse, good: FakeResponse, streamed: bool
) -> None:
    scene = Scene(empty, good, empty_answers=True)
    answer = await scene.forward(stream=streamed)
    assert answer.first == (ROLE if streamed else GOOD)  # the last one's is not held back
    assert scene.attempts == [("a", EmptyAnswer.code), ("b", None)]
    assert [replica.in_flight for replica in scene.replicas] == [0, 1]


async def test_a_stream_is_held_back_until_its_first_word() -> None:
    response = stream(ROLE, b": ping\n\n", WORD, WORD, DONE)
    answer = await Scene(response, empty_answers=True).forward(stream=True)
    assert answer.first == ROLE + b": ping\n\n" + WORD
    assert response.unread == 2


async def test_else_it_is_an_answer() -> None:
    scene = Scene(plain(EMPTY))
    assert (await scene.forward()).first == EMPTY
    assert scene.attempts == [("a", None)]


@pytest.mark.parametrize("changes", [{"max_attempts": 1}, {}])
async def test_where_nobody_else_is_left_it_is_an_answer_too(changes: dict[str, Any]) -> None:
    scene = Scene(plain(EMPTY), empty_answers=True, **changes)
    if not changes:
        scene.replicas[1].in_flight = scene.replicas[1].max_concurrent
    assert (await scene.forward()).first == EMPTY


async def test_a_stream_that_breaks_off_before_a_word_is_broken_and_not_empty() -> None:
    scene = Scene(stream(ROLE), empty_answers=True)
    with pytest.raises(UpstreamBroken):
        await scene.forward(stream=True)


async def test_other_operations_are_never_empty() -> None:
    scene = Scene(plain(b"{}"), empty_answers=True)
    assert (await scene.forward(operation=Operation.TOKENIZE)).first == b"{}"
