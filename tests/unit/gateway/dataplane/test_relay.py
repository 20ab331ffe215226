from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Attempt, Attribution, Call, Ending, Outcome, UpstreamRequest
from gateway.dataplane.forwarder import Answer
from gateway.dataplane.relay import relay
from gateway.dataplane.sse import EventCutter
from gateway.errors import UpstreamBroken, UpstreamTimeout
from tests.unit.builders import make_call, make_member, make_replica, until
from tests.unit.fakes import FakeClient, FakeMeter, FakeResponse, Piece

DONE = b"data: [DONE]\n\n"
CALL: Call = make_call(stream=True)
OUTCOME = Outcome(ending=Ending.FAILED, status=0, attempts=(Attempt("x", "fake", "error"), Attempt("a", "fake")))


def streamed(*pieces: Piece, first: bytes = b"", limit: int = 1_000, **changes: Any) -> Answer:
    fields = {
        "member": make_member(make_replica("a")),
        "response": FakeResponse(pieces=pieces),
        "meter": FakeMeter(),
        "first": first,
        "cutter": EventCutter(limit),
        "content_type": b"text/event-stream",
        "attribution": (),
        "request": UpstreamRequest("/generate", (), b""),
        **changes,
    }
    return Answer(**fields)


def plain(body: bytes, content_type: bytes = b"application/json") -> Answer:
    return streamed(first=body, cutter=None, content_type=content_type)


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
