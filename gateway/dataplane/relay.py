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

    def send(self, piece: bytes) -> bool:
        """Send a piece of the body that others follow; whether the next may follow at once, else it has to wait until `ready`."""

    async def ready(self) -> None:
        """Wait while the client reads too slowly."""

    async def finish(self, piece: bytes) -> None:
        """Send the last piece, which may be empty; waits while the client reads too slowly."""


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
        await client.finish(b": moegate.attribution %s\n\n" % remark if remark else b"")
    else:
        body = _with_remark(answer.first, remark) if remark else answer.first
        headers.append((b"content-type", answer.content_type or b"application/json"))
        headers.append((b"content-length", b"%d" % len(body)))
        await client.start(200, headers)
        outcome.ending = Ending.COMPLETED
        await client.finish(body)


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
    meter, passage = answer.meter, _Passage(answer, cutter, client)
    try:
        await passage.run()
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


class _Passage:
    """The way of a stream's events from the engine to the client.

    `take` runs for each read of the engine's socket, in the event loop's turn for it: waking a task for each piece would cost
    about as much again. The task only waits: for the end, and for a client that reads too slowly.

    An engine that stalls may still send comments, to keep proxies content: they are passed on, and they are no events.
    """

    __slots__ = ("_answer", "_client", "_cutter", "_feed", "_quiet_until", "_send")

    def __init__(self, answer: Answer, cutter: sse.EventCutter, client: Receiver) -> None:
        self._answer = answer
        self._client = client
        self._cutter = cutter
        self._feed = answer.meter.feed_events
        self._send = client.send
        self._quiet_until: float | None = None

    async def run(self) -> None:
        """Pass everything on."""
        response, take, ready = self._answer.response, self._take, self._client.ready
        self._send(self._answer.first)  # even if there is nothing to see in it yet: the headers go with it
        await ready()
        while await response.pass_on(take, self._patience()):
            await ready()

    def _patience(self) -> float | None:
        """How many seconds the next piece may take; None for as many as any."""
        return None if self._quiet_until is None else max(self._quiet_until - _now(), 0.0)

    def _take(self, piece: bytes) -> bool:
        """Pass one piece on; whether the next may follow just so."""
        at_once = self._quiet_until is None
        if piece[0] == _COLON and b"data:" not in piece:
            self._note_comment()
            at_once = False
        elif not at_once:
            self._quiet_until = None
        try:
            events = self._cutter.cut(piece)
        except sse.EventTooLong as error:
            raise UpstreamBroken("an event without end") from error
        if events:
            visible = self._feed(events)
            if visible and not self._send(visible):
                at_once = False
            failure = self._answer.meter.error
            if failure is not None:
                raise failure
        return at_once

    def _note_comment(self) -> None:
        """Count how long there have only been comments, which may come too fast to be waited for."""
        now = _now()
        if self._quiet_until is None:
            self._quiet_until = now + self._answer.member.timeouts.idle_seconds
        if self._quiet_until <= now:
            raise UpstreamTimeout("comments and no event in time")


def _now() -> float:
    return asyncio.get_running_loop().time()
