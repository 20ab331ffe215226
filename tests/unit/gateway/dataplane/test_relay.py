from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from gateway import Attempt, Attribution, Call, Ending, Outcome, UpstreamRequest
from gateway.dataplane.aborts import Aborts
from gateway.dataplane.attempting import Answer
from gateway.dataplane.relay import edit_headers, relay
from gateway.dataplane.sse import EventCutter
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from tests.unit.builders import make_call, make_pool, make_replica, until
from tests.unit.fakes import FakeClient, FakeConnections, FakeMeter, FakeResponse, Piece

DONE = b"data: [DONE]\n\n"
CALL: Call = make_call(stream=True)
ABORTS = Aborts(FakeConnections())  # type: ignore[arg-type]
OUTCOME = Outcome(ending=Ending.FAILED, status=0, attempts=(Attempt("x", "fake", "error"), Attempt("a", "fake")))


def streamed(*pieces: Piece, first: bytes = b"", limit: int = 1_000, **changes: Any) -> Answer:
    pool = make_pool(make_replica("a"))
    fields = {
        "member": pool.members[0],
        "slot": pool.take(pool.members[0]),
        "response": FakeResponse(pieces=pieces),
        "meter": FakeMeter(),
        "first": first,
        "cutter": EventCutter(limit),
        "content_type": b"text/event-stream",
        "attribution": (),
        "request": UpstreamRequest("/generate", (), b""),
        "aborts": ABORTS,
        **changes,
    }
    return Answer(**fields)


def plain(body: bytes, content_type: bytes = b"application/json", **changes: Any) -> Answer:
    return streamed(first=body, cutter=None, content_type=content_type, **changes)


# Plain answers


async def test_a_plain_answer_goes_out_as_it_is() -> None:
    client = FakeClient()
    await relay(CALL, plain(b'{"a": 1}'), client, OUTCOME)
    assert (client.status, client.writes, client.complete) == (200, [b'{"a": 1}'], True)
    assert dict(client.headers) == {
        b"x-moegate-call-id": b"0" * 32,
        b"x-moegate-replica": b"a",
        b"x-moegate-attempts": b"2",
        b"content-type": b"application/json",
        b"content-length": b"8",
    }


async def test_an_answer_without_a_type_is_json() -> None:
    client = FakeClient()
    await relay(CALL, plain(b"{}", b""), client, OUTCOME)
    assert dict(client.headers)[b"content-type"] == b"application/json"


async def test_attribution_becomes_headers() -> None:
    client = FakeClient()
    shown = (Attribution(((b"x-one", b"1"), (b"x-two", b"2"))), Attribution(((b"x-three", b"3"),), record="kept"))
    await relay(CALL, streamed(DONE, attribution=shown), client, OUTCOME)
    assert {b"x-one": b"1", b"x-two": b"2", b"x-three": b"3"}.items() <= dict(client.headers).items()


EDITED = UpstreamRequest("/generate", (), b"", transforms=("tool_ids",), dropped_params=("store", "metadata"))


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_changed_and_left_out_is_told(stream: bool) -> None:
    class Mends(FakeMeter):
        def __init__(self) -> None:
            super().__init__()
            self.transforms = ["tool_calls_repaired", "tool_ids"]

    client = FakeClient()
    answer = streamed(DONE, request=EDITED, meter=Mends()) if stream else plain(b"{}", request=EDITED, meter=Mends())
    await relay(CALL, answer, client, OUTCOME)
    headers = dict(client.headers)
    assert headers[b"x-moegate-transforms"] == b"tool_ids, tool_calls_repaired"
    assert headers[b"x-moegate-dropped-params"] == b"store, metadata"


def test_no_name_of_a_parameter_makes_a_header_of_its_own() -> None:
    ((_, value),) = edit_headers((), ["a\r\nx-injected: 1", "b,c", "d e", "月", "\x7f", "x" * 100, "fine-1.2"])
    assert value == b"a??x-injected:?1, b?c, d?e, ?, ?, " + b"x" * 64 + b", fine-1.2"


def test_names_without_end_make_a_header_with_one() -> None:
    ((_, value),) = edit_headers((), [f"name{number}" for number in range(10_000)])
    assert value.startswith(b"name0, name1, ")
    assert value.endswith(b"name31, ...")


# Streams


async def test_a_stream_goes_out_event_by_event() -> None:
    client = FakeClient()
    await relay(CALL, streamed(b"data: b\n\n", b"data: c\n\n", DONE, first=b"data: a\n\n"), client, OUTCOME)
    assert client.writes == [b"data: a\n\n", b"data: b\n\n", b"data: c\n\n", DONE]
    assert client.complete
    headers = dict(client.headers)
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert (headers[b"cache-control"], headers[b"x-accel-buffering"]) == (b"no-cache", b"no")
    assert b"content-length" not in headers


async def test_an_event_in_pieces_goes_out_whole() -> None:
    client = FakeClient()
    await relay(CALL, streamed(b"data: b", b"c\n", b"\ndata: d\n\n" + DONE), client, OUTCOME)
    assert client.writes == [b"data: bc\n\ndata: d\n\n" + DONE]


async def test_nothing_is_held_back() -> None:
    gate = asyncio.Event()
    client = FakeClient()
    task = asyncio.create_task(relay(CALL, streamed(b"data: b\n\n", gate, DONE), client, OUTCOME))
    await until(lambda: client.writes == [b"data: b\n\n"])
    assert not client.complete
    gate.set()
    await task
    assert client.complete


async def test_a_slow_client_slows_the_reading() -> None:
    gate = asyncio.Event()
    client = FakeClient(write_gate=gate)
    answer = streamed(b"data: b\n\n", b"data: c\n\n", DONE, first=b"data: a\n\n")
    task = asyncio.create_task(relay(CALL, answer, client, OUTCOME))
    await until(lambda: client.started)
    for _ in range(10):
        await asyncio.sleep(0)
    assert answer.response.unread == 3  # type: ignore[attr-defined]
    gate.set()
    await task
    assert client.complete


async def test_what_the_meter_hides_is_not_written() -> None:
    class Hides(FakeMeter):
        def feed_events(self, events: bytes) -> bytes:
            return super().feed_events(events).replace(b"data: hidden\n\n", b"")

    client = FakeClient()
    await relay(CALL, streamed(b"data: a\n\n", b"data: hidden\n\n", DONE, meter=Hides()), client, OUTCOME)
    assert client.writes == [b"data: a\n\n", DONE]


# When an engine has no more to say


async def test_a_plain_stream_is_finished_at_its_end_and_not_before() -> None:
    gate = asyncio.Event()
    answer = streamed(b"data: b\n\n", gate, DONE)
    client = FakeClient()
    task = asyncio.create_task(relay(CALL, answer, client, OUTCOME))
    await until(lambda: bool(client.writes))
    assert not answer.finished
    gate.set()
    await task
    assert answer.finished


@pytest.mark.parametrize(
    ("last", "finished"),
    [
        ((DONE, UpstreamBroken("reset")), True),  # all had been said
        ((b"data: b\n\n",), True),  # the engine closed, too early as it was
        ((b"data: b\n\n", UpstreamTimeout("idle")), False),
        ((b"data: b\n\n", UpstreamBroken("reset")), False),
        ((b"data: late error\n\n", DONE), False),
    ],
)
async def test_whether_an_engine_may_still_be_at_work(last: tuple[Piece, ...], finished: bool) -> None:
    answer = streamed(*last)
    with contextlib.suppress(UpstreamError):
        await relay(CALL, answer, FakeClient(), OUTCOME)
    assert answer.finished is finished


# Comments are no events

PING = b": ping\n\n"


async def test_an_engine_that_stalls_behind_its_pings_is_given_up() -> None:
    """Each comes well within the idle timeout, and nothing else ever does."""
    answer = streamed(b"data: b\n\n", *[PING, asyncio.Event()] * 3)
    client = FakeClient()
    with pytest.raises(UpstreamTimeout):
        await relay(CALL, answer, client, OUTCOME)
    waits = answer.response.waits  # type: ignore[attr-defined]
    idle = answer.member.timeouts.idle_seconds
    assert waits[:2] == [None, None]
    assert 0 < waits[2] <= idle
    assert DONE not in client.writes


async def test_pings_that_are_never_waited_for_are_given_up_too() -> None:
    class Flood(FakeResponse):
        async def read_chunk(self, within_seconds: float | None = None) -> bytes:
            await asyncio.sleep(10)  # on the virtual clock
            self.waits.append(within_seconds)
            return PING

    response = Flood()
    with pytest.raises(UpstreamTimeout, match="comments"):
        await relay(CALL, streamed(response=response), FakeClient(), OUTCOME)
    assert len(response.waits) == pytest.approx(1 + 120 / 10, abs=1)


async def test_an_event_ends_the_count() -> None:
    answer = streamed(PING, b"data: b\n\n", PING, PING, b": note\ndata: c\n\n", DONE)
    client = FakeClient()
    await relay(CALL, answer, client, OUTCOME)
    waits = answer.response.waits  # type: ignore[attr-defined]
    assert [wait is None for wait in waits] == [True, False, True, False, False, True, True]
    assert client.complete


# Failures after the first byte


async def test_an_error_event_ends_the_stream_after_what_came_before_it() -> None:
    client = FakeClient()
    with pytest.raises(UpstreamBroken, match="late error"):
        await relay(CALL, streamed(b"data: b\n\ndata: late error\n\n", DONE), client, OUTCOME)
    assert client.writes == [b"data: b\n\n"]
    assert not client.complete


async def test_a_stream_that_is_cut_short_is_a_failure_however_politely_it_was_closed() -> None:
    client = FakeClient()
    with pytest.raises(UpstreamBroken, match="cut short"):
        await relay(CALL, streamed(b"data: b\n\n"), client, OUTCOME)
    assert not client.complete


async def test_half_an_event_at_the_end_is_not_passed_on() -> None:
    client = FakeClient()
    with pytest.raises(UpstreamBroken, match="cut short"):
        await relay(CALL, streamed(b"data: b\n\nda"), client, OUTCOME)
    assert client.writes == [b"data: b\n\n"]


@pytest.mark.parametrize("failure", [UpstreamTimeout("idle"), UpstreamBroken("reset")])
async def test_a_failure_of_the_connection_comes_through(failure: Exception) -> None:
    client = FakeClient()
    with pytest.raises(type(failure)):
        await relay(CALL, streamed(b"data: b\n\n", failure), client, OUTCOME)
    assert client.writes == [b"data: b\n\n"]


async def test_an_event_without_end_is_a_broken_answer() -> None:
    with pytest.raises(UpstreamBroken, match="an event without end"):
        await relay(CALL, streamed(*[b"x" * 8] * 20, limit=100), FakeClient(), OUTCOME)
