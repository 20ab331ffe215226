"""Tries replicas in rank order until one truly answers; nothing has reached the client while it is at work.

An engine's 200 is not yet success: engines send it while a request still queues, and then put "queue full" into the
first event. So a stream is accepted when its first event is no error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog
from msgspec import Struct

from gateway.contracts.backend import Meter, Replica, ReplicaState, UpstreamRequest
from gateway.contracts.call import Attempt, Call, Outcome
from gateway.contracts.policy import Attribution, AttributionPolicy
from gateway.dataplane import sse
from gateway.dataplane.aborts import Aborts
from gateway.dataplane.placement import RETRY_AFTER_SECONDS
from gateway.errors import (
    GatewayError,
    NoReplicaAvailable,
    PolicyFailed,
    UpstreamBroken,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamUnreachable,
)
from gateway.fleet.pool import Member, Pool, PooledFleet
from gateway.upstream import ConnectionPool, UpstreamResponse

log = structlog.get_logger("moegate.forwarder")

MAX_ERROR_BYTES = 64 * 1024
MAX_EVENT_BYTES = 8 * 1024 * 1024

# Why an attempt ended whose client left before the engine had answered.
CLIENT_LEFT = "client_left"

# After these there is nothing left to abort: the engine never had the request, or refused it itself.
_ENDED_BY_ENGINE = (UpstreamUnreachable, UpstreamOverloaded, UpstreamRefused)


class Answer(Struct, eq=False):
    """An engine's accepted answer. Whoever holds it closes it.

    Attributes:
        first: what the client shall see first: all of a plain answer, or the first events of a stream.
        finished: the engine has said all, or will say no more. If this is not so when it is closed, it is given up.
    """

    member: Member
    response: UpstreamResponse
    meter: Meter
    first: bytes
    cutter: sse.EventCutter | None
    content_type: bytes
    attribution: tuple[Attribution, ...]
    request: UpstreamRequest
    aborts: Aborts
    finished: bool = False

    def close(self) -> None:
        """Give the slot back, and the connection; a connection with an answer still on its way is cut, so that the engine stops."""
        if self.member.replica.in_flight > 0:
            self.member.replica.in_flight -= 1
        self.response.close()
        if not self.finished:
            self.aborts.send(self.member, self.request)


class Forwarder:
    """Sends calls to replicas."""

    def __init__(
        self,
        connections: ConnectionPool,
        fleet: PooledFleet,
        attribution: Sequence[tuple[str, AttributionPolicy]],
        max_answer_bytes: int,
    ) -> None:
        self._connections = connections
        self._fleet = fleet
        self._attribution = tuple(attribution)
        self._max_answer_bytes = max_answer_bytes
        self.aborts = Aborts(connections)

    async def forward(self, call: Call, pool: Pool, ranked: Sequence[Replica], outcome: Outcome) -> Answer:
        """Return the first good answer; every try is noted in `outcome.attempts`.

        Raises:
            UpstreamError: the last try's failure, when no try is left or another would not help.
            NoReplicaAvailable: every ranked replica filled up since it was ranked.
        """
        failure: UpstreamError | None = None
        for replica in ranked:
            if len(outcome.attempts) == pool.max_attempts:
                break
            member = pool.member(replica)
            if member is None:
                raise PolicyFailed(f"a routing policy returned a replica that is not of pool {pool.model.name}")
            if replica.in_flight >= replica.max_concurrent:
                continue
            try:
                answer = await self._attempt(call, member, outcome)
            except asyncio.CancelledError:
                outcome.attempts += (Attempt(replica.name, replica.backend, CLIENT_LEFT),)
                raise
            except UpstreamError as error:
                outcome.attempts += (Attempt(replica.name, replica.backend, error.code),)
                self._note_failure(call, replica, error)
                if not error.retryable:
                    raise
                failure = error
            else:
                outcome.attempts += (Attempt(replica.name, replica.backend),)
                return answer
        if failure is not None:
            raise failure
        raise NoReplicaAvailable(
            f"All replicas of {pool.model.name} are at their max_concurrent.", retry_after_seconds=RETRY_AFTER_SECONDS
        )

    async def _attempt(self, call: Call, member: Member, outcome: Outcome) -> Answer:
        replica = member.replica
        outcome.checkpoint = replica.checkpoint
        attribution = self._annotate(call, replica) if self._attribution else ()
        request = member.backend.prepare(call, replica, f"{call.call_id}-{len(outcome.attempts) + 1}")
        outcome.transforms, outcome.dropped_params = request.transforms, request.dropped_params
        replica.in_flight += 1
        response: UpstreamResponse | None = None
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
            return await self._accept(call, member, request, response, attribution)
        except BaseException as error:
            replica.in_flight -= 1
            if response is not None:
                response.close()
            if not isinstance(error, _ENDED_BY_ENGINE):
                self.aborts.send(member, request)
            raise

    async def _accept(
        self,
        call: Call,
        member: Member,
        request: UpstreamRequest,
        response: UpstreamResponse,
        attribution: tuple[Attribution, ...],
    ) -> Answer:
        """Read as much as tells whether this is an answer."""
        if response.status != 200:  # noqa: PLR2004 - the one status that an engine's answer has
            body = await response.read(MAX_ERROR_BYTES)
            raise member.backend.read_error(response.status, body)
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
            first = meter.read_body(await response.read(self._max_answer_bytes))
        if meter.error is not None:
            raise meter.error
        return Answer(
            member,
            response,
            meter,
            first,
            cutter,
            content_type,
            attribution,
            request,
            self.aborts,
            finished=cutter is None,
        )

    def _annotate(self, call: Call, replica: Replica) -> tuple[Attribution, ...]:
        annotations = []
        for name, policy in self._attribution:
            try:
                annotation = policy.annotate(call, replica)
            except GatewayError:
                raise
            except Exception as error:
                raise PolicyFailed(f"attribution policy {name} crashed on {call.call_id}") from error
            if annotation is not None:
                annotations.append(annotation)
        return tuple(annotations)

    def _note_failure(self, call: Call, replica: Replica, error: UpstreamError) -> None:
        log.log(
            log_level_number(error),
            "attempt failed",
            call_id=call.call_id,
            replica=replica.name,
            error=error.code,
            reason=error.message,
        )
        if isinstance(error, UpstreamUnreachable):
            self._fleet.report(replica, ReplicaState.UNREACHABLE, "the last call could not connect")


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
            continue
        refused = member.backend.read_first_event(first)
        if refused is not None:
            raise refused
        return events


_LEVELS = {"info": 20, "warning": 30, "error": 40}


def log_level_number(error: GatewayError) -> int:
    """The standard logging level of an error's class."""
    return _LEVELS[error.log_level]
