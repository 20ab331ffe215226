"""Sends copies of calls to replicas and gives way: no copy may cost a client anything but its content.

A copy asks no admission policy, is in no ledger, is never tried again and says nothing of its replica's health. It waits
until its call has been sent, and gives way: to calls that need its slot, to a model or a gateway that has enough to do.
What its answer is for is its errand's affair.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from gateway.contracts.backend import ReplicaState, UpstreamRequest
from gateway.contracts.call import Call
from gateway.contracts.copying import CopyLimits
from gateway.dataplane.aborts import Aborts
from gateway.dataplane.attempting import ENDED_BY_ENGINE
from gateway.errors import GatewayError
from gateway.fleet.breaker import Phase
from gateway.fleet.pool import Member, Pool
from gateway.fleet.slots import Slot
from gateway.upstream import ConnectionPool, UpstreamResponse

log = structlog.get_logger("moegate.copying")

MARK: Final = (b"x-moegate-mirror", b"1")
"""Goes with every copy, so that an engine's own figures can tell copies from calls."""

# By then the first attempt at the call has been sent, or waits for its connection.
START_AFTER_SECONDS: Final = 0.005
TICK_SECONDS: Final = 0.25
# The event loop is behind by so much: whatever can be left undone is.
BUSY_SECONDS: Final = 0.1

SERVED: Final = "served"


class Lane:
    """Copies that share their limits."""

    def __init__(self, limits: CopyLimits) -> None:
        self.limits = limits
        self.copies: set[Copy] = set()
        self.held_bytes = 0

    def lacks_room(self, call: Call, count: int) -> str | None:
        """Why there can be no so many copies more now."""
        if len(self.copies) + count > self.limits.max_concurrent:
            return "copies"
        return "bytes" if self.held_bytes + count * len(call.body) > self.limits.max_bytes else None


class Errand(Protocol):
    """What one copy is made for. After it was started it hears `never` or `ended`, once."""

    @property
    def call(self) -> Call:
        """What is sent."""

    @property
    def lane(self) -> Lane:
        """Whose limits it keeps."""

    @property
    def pool(self) -> Pool:
        """Whose replica gets it."""

    @property
    def request_id(self) -> str:
        """By which the engine knows it."""

    def wants(self, member: Member) -> bool:
        """Whether this replica may get it."""

    def leaves(self, member: Member) -> None:
        """It is about to be sent to this replica."""

    async def read(self, slot: Slot, request: UpstreamRequest, response: UpstreamResponse) -> None:
        """Read the answer to its end.

        Raises:
            GatewayError: the engine failed.
        """

    def never(self, why: str) -> None:
        """No replica can take it."""

    def ended(self, how: str, *, gave_way: bool) -> None:
        """How it went: `served`, the code of an error, `late`; or why it gave way."""


class Copy:
    """One copy on its way."""

    __slots__ = ("errand", "how", "slot", "source", "task", "why")

    def __init__(self, source: Pool, errand: Errand) -> None:
        self.source = source
        self.errand = errand
        self.slot: Slot | None = None
        self.task: asyncio.Task[None] | None = None
        self.why: str | None = None
        self.how = SERVED

    def end(self, why: str) -> None:
        """Give way now: its slot is free when this returns, and its connection is cut soon after."""
        if self.why is None and not (self.task is not None and self.task.done()):
            self.why = why
            if self.slot is not None:
                self.slot.release()
            if self.task is not None:
                self.task.cancel()


class Copying:
    """All copies of one runtime; the clock has monotonic seconds."""

    def __init__(self, connections: ConnectionPool, clock: Callable[[], float] = time.monotonic) -> None:
        self.aborts = Aborts(connections)
        self._connections = connections
        self._clock = clock
        self._copies: set[Copy] = set()
        self._watch: asyncio.Task[None] | None = None
        self._behind_seconds = 0.0

    def objection(self, lane: Lane, call: Call, source: Pool, count: int = 1) -> str | None:
        """Why there should be no copies now; `source` are the replicas that the call itself is for."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch(), name="copying")
        if self._behind_seconds > BUSY_SECONDS:
            return "busy"
        return "load" if _loaded(source, lane.limits) else lane.lacks_room(call, count)

    def start(self, source: Pool, errand: Errand) -> None:
        """Make a copy of a call which is about to be sent."""
        copy, lane = Copy(source, errand), errand.lane
        copy.task = asyncio.create_task(self._run(copy))
        self._copies.add(copy)
        lane.copies.add(copy)
        lane.held_bytes += len(errand.call.body)
        copy.task.add_done_callback(lambda _: self._forget(copy))

    def make_room(self, pool: Pool) -> None:
        """A call is about to be placed in this pool: no copy may keep a replica from it."""
        for copy in self._copies:
            if copy.slot is not None and copy.errand.pool is pool:
                replica = copy.slot.member.replica
                if replica.in_flight >= replica.slots:
                    copy.end("room")

    def leave(self, call_id: str) -> None:
        """The client of this call has left."""
        for copy in self._copies:
            if copy.errand.call.call_id == call_id:
                copy.end("client_left")

    async def stop(self) -> None:
        """End all copies."""
        tasks = [copy.task for copy in self._copies if copy.task is not None]
        for copy in self._copies:
            copy.end("stopped")
        if self._watch is not None:
            self._watch.cancel()
            tasks.append(self._watch)
            self._watch = None
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.aborts.finish()

    def _forget(self, copy: Copy) -> None:
        """Also of one that never began to run."""
        lane = copy.errand.lane
        self._copies.discard(copy)
        lane.copies.discard(copy)
        lane.held_bytes -= len(copy.errand.call.body)
        if copy.why is not None:
            copy.errand.ended(copy.why, gave_way=True)
        elif copy.slot is None:
            copy.errand.never(copy.how)
        else:
            copy.errand.ended(copy.how, gave_way=copy.how == "crashed")

    async def _run(self, copy: Copy) -> None:
        errand = copy.errand
        try:
            async with asyncio.timeout(errand.lane.limits.total_seconds):
                await asyncio.sleep(START_AFTER_SECONDS)
                member = _roomiest(copy)
                if member is None:
                    copy.how = "no_replica"
                    return
                if member.backend.objection(errand.call, member.replica) is not None:
                    copy.how = "unfit"
                    return
                copy.slot = errand.pool.take(member)
                errand.leaves(member)
                await self._send(errand, copy.slot)
        except TimeoutError:
            copy.how = "late"
        except GatewayError as error:
            copy.how = error.code
            log.debug("copy failed", call_id=errand.call.call_id, error=error.code, reason=error.message)
        except Exception:
            copy.how = "crashed"
            log.exception("copy crashed", call_id=errand.call.call_id)
        finally:
            if copy.slot is not None:
                copy.slot.release()

    async def _send(self, errand: Errand, slot: Slot) -> None:
        """Send a copy and have its answer read to the end."""
        member = slot.member
        request = member.backend.prepare(errand.call, member.replica, errand.request_id)
        try:
            response = await self._connections.send(
                member.origin,
                b"POST",
                (member.base_path + request.path).encode(),
                (*request.headers, MARK),
                request.body,
                member.timeouts,
                prepared=member.headers,
            )
            try:
                await errand.read(slot, request, response)
            finally:
                response.close()
        except BaseException as error:
            if not isinstance(error, ENDED_BY_ENGINE):
                self.aborts.send(member, request)
            raise

    async def _keep_watch(self) -> None:
        """See how far the event loop is behind, and end copies whose model has enough to do without them."""
        while True:
            before = self._clock()
            await asyncio.sleep(TICK_SECONDS)
            self._behind_seconds = max(self._clock() - before - TICK_SECONDS, 0.0)
            for copy in self._copies:
                if self._behind_seconds > BUSY_SECONDS:
                    copy.end("busy")
                elif _loaded(copy.source, copy.errand.lane.limits):
                    copy.end("load")


def _roomiest(copy: Copy) -> Member | None:
    """The replica with the most room, among those that may get it, are well and can do the operation."""
    found, least = None, 1.0
    for member in copy.errand.pool.members:
        replica = member.replica
        if (
            replica.state is ReplicaState.READY
            and replica.breaker == Phase.CLOSED.value
            and copy.errand.call.operation in replica.operations
            and copy.errand.wants(member)
        ):
            load = replica.in_flight / max(replica.slots, 1) if replica.slots > 0 else 1.0
            if load < least:
                found, least = member, load
    return found


def _loaded(pool: Pool, limits: CopyLimits) -> bool:
    """Whether a model's replicas that are ready are so full that nothing should be added."""
    ready: Sequence[Member] = [member for member in pool.members if member.replica.state is ReplicaState.READY]
    slots = sum(member.replica.slots for member in ready)
    return sum(member.replica.in_flight for member in ready) >= limits.busy_share * slots
