"""Shadows: copies that an experiment has made of a call, whose answers go the same way as a client's, to the experiment alone."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from msgspec.structs import replace

from gateway.contracts.assigning import ArmWatch, Copies, CopyTo
from gateway.contracts.backend import UpstreamRequest
from gateway.contracts.call import Attempt, Call, Ending, Outcome
from gateway.dataplane.attempting import Answer, accept
from gateway.dataplane.copying import SERVED, Copying, Lane
from gateway.dataplane.relay import Headers, relay
from gateway.errors import UpstreamTimeout
from gateway.fleet.pool import Member, Pool
from gateway.fleet.slots import Slot
from gateway.upstream import UpstreamResponse

log = structlog.get_logger("moegate.shadowing")

Accept = Callable[[Call, Slot, UpstreamRequest, UpstreamResponse], Awaitable[Answer]]

_TIMED_OUT = frozenset({"late", UpstreamTimeout.code})


class Shadowing:
    """The shadows of one runtime.

    Args:
        max_bytes: of an answer that is no stream.
    """

    def __init__(self, copying: Copying, max_bytes: int) -> None:
        self._copying = copying
        self._accept = partial(accept, aborts=copying.aborts, max_bytes=max_bytes)
        self._lanes: dict[str, Lane] = {}

    def offer(self, copies: Copies, call: Call, pool: Pool) -> None:
        """Make these copies of a call which is about to be sent, or none of them."""
        lane = self._lanes.setdefault(copies.name, Lane(copies.limits))
        lane.limits = copies.limits
        against = self._copying.objection(lane, call, pool, len(copies.to))
        for number, to in enumerate(copies.to, 1):
            shadow = _Shadow(lane, pool, call, f"{call.call_id}-shadow-{number}", to, self._accept)
            if against is None:
                self._copying.start(pool, shadow)
            else:
                shadow.never(against)

    def leave(self, call_id: str) -> None:
        """The client of this call has left: there is nothing to compare."""
        self._copying.leave(call_id)


class _Shadow:
    """One copy's errand: what a client would have got goes to a watch. Its call is received when it is sent."""

    def __init__(self, lane: Lane, pool: Pool, call: Call, request_id: str, to: CopyTo, accept: Accept) -> None:
        self.lane, self.pool, self.call, self.request_id = lane, pool, call, request_id
        self._replicas = to.replicas
        self._watch: ArmWatch = to.watch
        self._accept = accept
        self._outcome = Outcome(ending=Ending.DISCONNECTED, status=0)
        self._member: Member | None = None

    def wants(self, member: Member) -> bool:
        return member.replica.name in self._replicas

    def leaves(self, member: Member) -> None:
        self._member = member
        self.call = replace(self.call, received_at=time.monotonic())
        self._outcome.admitted_seconds = self._outcome.placed_seconds = 0.0
        self._outcome.checkpoint = member.replica.checkpoint

    async def read(self, slot: Slot, request: UpstreamRequest, response: UpstreamResponse) -> None:
        """As a client's answer is read, so that the same is compared."""
        outcome = self._outcome
        outcome.transforms, outcome.dropped_params = request.transforms, request.dropped_params
        answer = await self._accept(self.call, slot, request, response)
        outcome.first_byte_seconds = self._seconds()
        try:
            await relay(self.call, answer, self, outcome)
        finally:
            answer.note(outcome)

    async def start(self, status: int, headers: Headers) -> None:  # noqa: ARG002 - nobody asks
        """See `Receiver`."""
        self._outcome.status = status

    def send(self, piece: bytes) -> bool:
        """See `Receiver`."""
        try:
            self._watch.sent(piece)
        except Exception:
            log.exception("experiment crashed on a copy's piece", call_id=self.call.call_id)
        return True

    async def ready(self) -> None:
        """See `Receiver`."""

    async def finish(self, piece: bytes) -> None:
        """See `Receiver`."""
        self.send(piece)

    def never(self, why: str) -> None:
        self.ended(why, gave_way=True)

    def ended(self, how: str, *, gave_way: bool) -> None:
        outcome = self._outcome
        if how != SERVED:
            failed = Ending.TIMED_OUT if how in _TIMED_OUT else Ending.FAILED
            outcome.ending = Ending.DISCONNECTED if gave_way else failed
            outcome.error_code = how
        if self._member is not None:
            replica = self._member.replica
            seconds = outcome.total_seconds = self._seconds()
            code = outcome.error_code
            outcome.attempts = (
                Attempt(replica.name, replica.backend, code, 0.0, outcome.first_byte_seconds or seconds),
            )
        try:
            self._watch.ended(outcome)
        except Exception:
            log.exception("experiment crashed on a copy's end", call_id=self.call.call_id)

    def _seconds(self) -> float:
        return time.monotonic() - self.call.received_at
