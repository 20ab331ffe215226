"""One attempt at a call on one replica: sends it, and reads as much of the answer as tells whether it is one.

An engine's 200 is not yet success: engines send it while a request still queues, and then put "queue full" into the
first event. So a stream is accepted when its first event is no error.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct

from gateway.contracts.backend import Meter, Replica, UpstreamRequest
from gateway.contracts.call import Call, Outcome
from gateway.contracts.policy import Attribution, AttributionPolicy
from gateway.dataplane import emptiness, sse
from gateway.dataplane.aborts import Aborts
from gateway.dataplane.watching import BROKEN_OFF, Watchers, Watching
from gateway.errors import (
    EmptyAnswer,
    GatewayError,
    PolicyFailed,
    Rejected,
    UpstreamBroken,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.fleet.pool import Member, Pool
from gateway.fleet.slots import Slot
from gateway.upstream import ConnectionPool, UpstreamResponse

MAX_ERROR_BYTES = 64 * 1024
MAX_EVENT_BYTES = 8 * 1024 * 1024

# Why an attempt ended whose client left before the engine had answered.
CLIENT_LEFT = "client_left"

# After these there is nothing left to abort: the engine never had the request, or refused it itself.
ENDED_BY_ENGINE = (UpstreamUnreachable, UpstreamOverloaded, UpstreamRefused)


class Answer(Struct, eq=False):
    """An engine's accepted answer. Whoever holds it closes it.

    Attributes:
        first: what the client shall see first: all of a plain answer, or the first events of a stream.
        finished: the engine has said all, or will say no more. If this is not so when it is closed, it is given up.
    """

    member: Member
    slot: Slot
    response: UpstreamResponse
    meter: Meter
    first: bytes
    cutter: sse.EventCutter | None
    content_type: bytes
    request: UpstreamRequest
    aborts: Aborts
    attribution: tuple[Attribution, ...] = ()
    watching: Watching | None = None
    finished: bool = False
    broken: bool = False

    def failed(self, error: UpstreamError) -> None:
        """It broke off: the replica is judged by that."""
        self.broken = True
        self.slot.failed(error)

    def note(self, outcome: Outcome) -> None:
        """Note what it used and went through so far."""
        meter = self.meter
        outcome.usage, outcome.finish_reason = meter.usage, meter.finish_reason
        outcome.streamed_events = meter.events
        outcome.transforms = (*self.request.transforms, *meter.transforms)
        outcome.dropped_params = self.request.dropped_params

    def close(self) -> None:
        """Give the slot back, and the connection; a connection with an answer still on its way is cut, so that the engine stops."""
        self.slot.release()
        self.response.close()
        if self.watching is not None:
            meter = self.meter
            code = BROKEN_OFF if self.broken or not self.finished else None
            self.watching.ended(code, meter.usage, meter.events)
        if not self.finished:
            self.aborts.send(self.member, self.request)


class Attempting:
    """Makes attempts."""

    def __init__(
        self,
        connections: ConnectionPool,
        attribution: Sequence[tuple[str, AttributionPolicy]],
        max_answer_bytes: int,
        watchers: Watchers = (),
    ) -> None:
        self._watchers = watchers
        self._connections = connections
        self._attribution = tuple(attribution)
        self._max_answer_bytes = max_answer_bytes
        self.aborts = Aborts(connections)

    async def attempt(
        self, call: Call, pool: Pool, member: Member, number: int, outcome: Outcome, *, may_be_empty: bool = True
    ) -> Answer:
        """Ask one replica. `number` tells the attempts at one call apart, from 1.

        Raises:
            UpstreamError: it does not answer, or with an error; or with nothing, unless it may be empty.
            GatewayError: an attribution policy refuses.
        """
        replica = member.replica
        outcome.checkpoint = replica.checkpoint
        attribution = self._annotate(call, replica, outcome) if self._attribution else ()
        request = member.backend.prepare(call, replica, f"{call.call_id}-{number}")
        outcome.transforms, outcome.dropped_params = request.transforms, request.dropped_params
        slot = pool.take(member)
        watching = Watching(self._watchers, call, replica) if self._watchers else None
        response: UpstreamResponse | None = None
        total = member.timeouts.total_seconds
        began = time.monotonic() if total is not None else 0.0
        try:
            response = await self._connections.send(
                member.origin,
                b"POST",
                (member.base_path + request.path).encode(),
                request.headers,
                request.body,
                member.timeouts,
                prepared=member.headers,
            )
            if total is not None:
                response.end_within(total - (time.monotonic() - began))
            answer = await accept(call, slot, request, response, self.aborts, self._max_answer_bytes)
            answer.attribution = attribution
            if not may_be_empty and call.operation in emptiness.OPERATIONS:
                await await_words(answer)
        except BaseException as error:
            if isinstance(error, UpstreamError):
                slot.failed(error)
            slot.release()
            if watching is not None:
                watching.ended(error.code if isinstance(error, GatewayError) else CLIENT_LEFT)
            if response is not None:
                response.close()
            if not isinstance(error, ENDED_BY_ENGINE):
                self.aborts.send(member, request)
            raise
        slot.well()
        if watching is not None:
            watching.answered(whole=answer.cutter is None)
            answer.watching = watching
        return answer

    def _annotate(self, call: Call, replica: Replica, outcome: Outcome) -> tuple[Attribution, ...]:
        annotations = []
        for name, policy in self._attribution:
            try:
                annotation = policy.annotate(call, replica)
            except Rejected as error:
                outcome.attribution = (error.record,) if error.record else ()
                raise
            except GatewayError:
                raise
            except Exception as error:
                raise PolicyFailed(f"attribution policy {name} crashed on {call.call_id}") from error
            if annotation is not None:
                annotations.append(annotation)
        return tuple(annotations)


async def accept(
    call: Call, slot: Slot, request: UpstreamRequest, response: UpstreamResponse, aborts: Aborts, max_bytes: int
) -> Answer:
    """Read as much as tells whether this is an answer; of a plain one all, up to so many bytes.

    Raises:
        UpstreamError: it is none.
    """
    member = slot.member
    if response.status != 200:  # noqa: PLR2004 - the one status that an engine's answer has
        body = await response.read(MAX_ERROR_BYTES)
        raise _asking(member.backend.read_error(response.status, body), response)
    meter = member.backend.new_meter(call, request)
    content_type = response.header(b"content-type") or b""
    if call.stream:
        if not content_type.startswith(b"text/event-stream"):
            raise UpstreamBroken(f"{member.replica.name} answered a stream with {content_type[:80]!r}")
        cutter = sse.EventCutter(MAX_EVENT_BYTES)
        first = meter.feed_events(await first_events(member, response, cutter))
    else:
        if content_type.startswith(b"text/event-stream"):  # it need not have an end
            raise UpstreamBroken(f"{member.replica.name} answered with a stream that nobody asked for")
        cutter = None
        first = meter.read_body(await response.read(max_bytes))
    if meter.error is not None:
        raise meter.error
    return Answer(member, slot, response, meter, first, cutter, content_type, request, aborts, finished=cutter is None)


def _asking(error: UpstreamError, response: UpstreamResponse) -> UpstreamError:
    """An overload with the engine's own `Retry-After`, in seconds; a date is an engine's clock, and no engine sends one."""
    if isinstance(error, UpstreamOverloaded):
        asked = response.header(b"retry-after")
        if asked is not None and asked.isdigit() and len(asked) <= 6:  # noqa: PLR2004 - eleven days
            error.asked_seconds = error.retry_after_seconds = float(asked)
    return error


async def await_words(answer: Answer) -> None:
    """Hold an accepted answer back until it says something.

    Raises:
        EmptyAnswer: it has come to its end, and there is nothing in it.
        UpstreamError: it broke off before.
    """
    name, cutter = answer.member.replica.name, answer.cutter
    if cutter is None:
        if not emptiness.says_something(answer.first):
            raise EmptyAnswer(f"{name} answered with nothing")
        return
    deadline = time.monotonic() + answer.member.timeouts.first_byte_seconds
    held, meter = answer.first, answer.meter
    visible = held
    while not emptiness.events_say_something(visible):
        if len(held) > MAX_EVENT_BYTES:
            break  # it says something, of a kind that is not known here
        chunk = await answer.response.read_chunk(max(deadline - time.monotonic(), 0.0))
        if not chunk:
            raise meter.end_events() or EmptyAnswer(f"{name} answered with a stream of nothing")
        try:
            visible = meter.feed_events(cutter.cut(chunk))
        except sse.EventTooLong as error:
            raise UpstreamBroken(f"{name} sent an event of over {MAX_EVENT_BYTES} bytes") from error
        if meter.error is not None:
            raise meter.error
        held += visible
    answer.first = held


async def first_events(member: Member, response: UpstreamResponse, cutter: sse.EventCutter) -> bytes:
    """Read until the first event that carries data, which decides whether the engine really answers.

    Returns:
        All whole events up to there; comments before it are kept, so that a retry elsewhere stays possible.

    Raises:
        UpstreamError: the first event is an error, or none came.
    """
    events = b""
    # Engines send their headers at once and then queue, some with comments meanwhile: it is the event that the
    # first-byte timeout is meant for.
    deadline = time.monotonic() + member.timeouts.first_byte_seconds
    while True:
        chunk = await response.read_chunk(max(deadline - time.monotonic(), 0.0))
        if not chunk:
            raise UpstreamBroken(f"{member.replica.name} closed the stream before its first event")
        try:
            events += cutter.cut(chunk)
        except sse.EventTooLong as error:
            raise UpstreamBroken(f"{member.replica.name} sent an event of over {MAX_EVENT_BYTES} bytes") from error
        if len(events) > MAX_EVENT_BYTES:
            raise UpstreamBroken(f"{member.replica.name} sent {MAX_EVENT_BYTES} bytes without an event")
        first = next((event for event in sse.split(events) if sse.data(event) is not None), None)
        if first is None:
            if time.monotonic() > deadline:  # comments may come so fast that they are never waited for
                raise UpstreamTimeout(f"{member.replica.name} sent comments and no event in time")
            continue
        refused = member.backend.read_first_event(first)
        if refused is not None:
            raise refused
        return events
