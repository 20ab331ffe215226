"""Carries an accepted answer to the client, event by event with nothing held back; decides nothing, retries nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.contracts.call import Call, Ending, Outcome
from gateway.dataplane import sse
from gateway.dataplane.attempting import Answer
from gateway.errors import GatewayError, UpstreamBroken, UpstreamError, UpstreamTimeout

Headers = list[tuple[bytes, bytes]]

# A proxy in front of us that buffers would hold tokens back; these two are what proxies heed.
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

_COLON = ord(":")  # what a comment begins with
_MOST_NAMES = 32
_LONGEST_NAME = 64
_UNLISTABLE = re.compile(r"[^!-+\--~]")  # all but visible ASCII without the comma


class Receiver(Protocol):
    """Who gets an answer."""

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers."""

    async def write(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the body; waits while the client reads too slowly."""


class Client(Receiver, Protocol):
    """The side of a call that asked."""

    @property
    def started(self) -> bool:
        """Whether anything was sent: from then on no status can be given and no other replica be tried."""

    @property
    def gone(self) -> bool:
        """Whether the client has left; the task that serves the call is cancelled when that is noticed."""

    def add_headers(self, headers: Headers) -> None:
        """Send these too, with whatever status comes."""

    def before_last(self, hook: Callable[[], None]) -> None:
        """Call this when the last piece of an answer or an error is about to leave, and only then."""

    async def fail(self, error: GatewayError, outcome: Outcome) -> None:
        """Tell of a failure: as a status where none was sent yet, else as the stream's last event."""

    def release(self) -> None:
        """The call is over: stop watching whether the client leaves."""


async def relay(call: Call, answer: Answer, client: Receiver, outcome: Outcome) -> None:
    """Send an answer.

    Raises:
        UpstreamError: the engine failed half-way.
    """
    headers: Headers = [
        (b"x-moegate-call-id", call.call_id.encode()),
        *answer.member.labels,
        (b"x-moegate-attempts", b"%d" % len(outcome.attempts)),
    ]
    headers += edit_headers((*answer.request.transforms, *answer.meter.transforms), answer.request.dropped_params)
    remark = b""
    for attribution in answer.attribution:
        headers += attribution.headers
        remark = remark or attribution.in_answer
    if answer.cutter is not None:
        await client.start(200, headers + STREAM_HEADERS)
        await _relay_events(answer, answer.cutter, client)
        outcome.ending = Ending.COMPLETED
        await client.write(b": moegate.attribution %s\n\n" % remark if remark else b"", more=False)
    else:
        body = _with_remark(answer.first, remark) if remark else answer.first
        headers.append((b"content-type", answer.content_type or b"application/json"))
        headers.append((b"content-length", b"%d" % len(body)))
        await client.start(200, headers)
        outcome.ending = Ending.COMPLETED
        await client.write(body, more=False)


def _with_remark(body: bytes, remark: bytes) -> bytes:
    """A JSON object with `moegate.attribution` as its last field; what is no object stays as it is."""
    kept = body.rstrip()
    if not kept.startswith(b"{") or not kept.endswith(b"}"):
        return body
    kept = kept[:-1].rstrip()
    return b'%s%s"moegate":{"attribution":%s}}' % (kept, b"" if kept == b"{" else b",", remark)


def edit_headers(transforms: Sequence[str], dropped_params: Sequence[str]) -> Headers:
    """What was done to a call on its way, for its caller to see; nothing for most calls.

    What is mended later in a stream comes too late for a header and is only in the record.
    """
    headers: Headers = []
    if transforms:
        headers.append((b"x-moegate-transforms", _listed(transforms)))
    if dropped_params:
        headers.append((b"x-moegate-dropped-params", _listed(dropped_params)))
    return headers


def _listed(names: Sequence[str]) -> bytes:
    """Names as one header's value; callers choose the names of parameters, so they may hold anything and be many."""
    shown = [_UNLISTABLE.sub("?", name[:_LONGEST_NAME]) for name in dict.fromkeys(names)]
    if len(shown) > _MOST_NAMES:
        shown[_MOST_NAMES:] = ["..."]
    return ", ".join(shown).encode()


async def _relay_events(answer: Answer, cutter: sse.EventCutter, client: Receiver) -> None:
    meter = answer.meter
    await client.write(answer.first, more=True)  # even if there is nothing to see in it yet: the headers go with it
    try:
        await _relay_chunks(answer, cutter, client)
    except UpstreamError:
        if meter.end_events() is not None:
            raise
        # All had been said: how the connection ends after the last event is no matter.
        answer.finished = True
    else:
        answer.finished = True
        failure = meter.end_events()
        if failure is not None:
            raise failure


async def _relay_chunks(answer: Answer, cutter: sse.EventCutter, client: Receiver) -> None:
    """The one loop that runs per chunk.

    An engine that stalls may still send comments, to keep proxies content: they are passed on, and they are no events.
    """
    meter, response = answer.meter, answer.response
    quiet_until: float | None = None
    while chunk := await response.read_chunk(None if quiet_until is None else _left(quiet_until)):
        if chunk[0] == _COLON and b"data:" not in chunk:
            quiet_until = quiet_until or _now() + answer.member.timeouts.idle_seconds
            if _left(quiet_until) <= 0:
                raise UpstreamTimeout("comments and no event in time")
        else:
            quiet_until = None
        try:
            events = cutter.cut(chunk)
        except sse.EventTooLong as error:
            raise UpstreamBroken("an event without end") from error
        if events:
            visible = meter.feed_events(events)
            if visible:
                await client.write(visible, more=True)
            if meter.error is not None:
                raise meter.error


def _now() -> float:
    return asyncio.get_running_loop().time()


def _left(until: float) -> float:
    return max(until - _now(), 0.0)
