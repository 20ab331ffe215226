"""Copies a share of calls to other replicas and throws the answers away: no copy may cost a client anything but its content.

A copy asks no admission policy, is in no ledger, is never tried again and says nothing of its replica's health. It waits
until its call has been sent, and gives way: to calls that need its slot, to a model or a gateway that has enough to do.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import structlog
from msgspec.structs import replace

from gateway.contracts.backend import ReplicaState, UpstreamRequest
from gateway.contracts.call import Call
from gateway.contracts.metrics import Metric
from gateway.dataplane import sse
from gateway.dataplane.aborts import Aborts
from gateway.dataplane.attempting import ENDED_BY_ENGINE, MAX_ERROR_BYTES, MAX_EVENT_BYTES, first_events
from gateway.dataplane.mirror_counts import MirrorCounts, mirror_metrics
from gateway.errors import GatewayError
from gateway.fleet.breaker import Phase
from gateway.fleet.pool import Member, Pool
from gateway.fleet.slots import Slot
from gateway.settings import MirrorSettings
from gateway.upstream import ConnectionPool

log = structlog.get_logger("moegate.mirroring")

MARK: Final = (b"x-moegate-mirror", b"1")
"""Goes with every copy, so that an engine's own figures can tell copies from calls."""

# By then the first attempt at the call has been sent, or waits for its connection.
START_AFTER_SECONDS: Final = 0.005
TICK_SECONDS: Final = 0.25
# The event loop is behind by so much: whatever can be left undone is.
BUSY_SECONDS: Final = 0.1

_SPAN: Final = 2**64


class Mirror:
    """Where the copies of one model's calls go, and how many of them there are.

    Args:
        key: makes that nobody who can choose call ids can choose what is copied; the same over reloads.
    """

    def __init__(self, settings: MirrorSettings, pool: Pool, counts: MirrorCounts, key: bytes) -> None:
        self.settings = settings
        self.pool = pool
        self.counts = counts
        self.copies: set[Copy] = set()
        self.held_bytes = 0
        self._key = key
        self._below = int(settings.share * _SPAN)

    def wants(self, call_id: str) -> bool:
        """Whether this call is in the share."""
        digest = hashlib.blake2b(call_id.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") < self._below

    def lacks_room(self, call: Call) -> str | None:
        """Why there can be no other copy now."""
        if len(self.copies) >= self.settings.max_concurrent:
            return "copies"
        return "bytes" if self.held_bytes + len(call.body) > self.settings.max_bytes else None

    def choose(self, call: Call) -> Member | None:
        """The replica with the most room, among those that may get copies, are well and can do the operation."""
        wanted, found, least = self.settings.replicas, None, 1.0
        for member in self.pool.members:
            replica = member.replica
            if (
                replica.state is ReplicaState.READY
                and replica.breaker == Phase.CLOSED.value
                and call.operation in replica.operations
                and (not wanted or any(fnmatchcase(replica.name, pattern) for pattern in wanted))
            ):
                load = replica.in_flight / max(replica.slots, 1) if replica.slots > 0 else 1.0
                if load < least:
                    found, least = member, load
        return found


class Copy:
    """One copy on its way."""

    __slots__ = ("call", "mirror", "slot", "source", "task", "why")

    def __init__(self, call: Call, mirror: Mirror, source: Pool) -> None:
        self.call = call
        self.mirror = mirror
        self.source = source
        self.slot: Slot | None = None
        self.task: asyncio.Task[None] | None = None
        self.why: str | None = None

    def end(self, why: str) -> None:
        """Give way now: its slot is free when this returns, and its connection is cut soon after."""
        if self.why is None and not (self.task is not None and self.task.done()):
            self.why = why
            if self.slot is not None:
                self.slot.release()
            if self.task is not None:
                self.task.cancel()


class Mirroring:
    """The mirrors of one runtime, by the model whose calls they copy; the clock has monotonic seconds."""

    def __init__(
        self,
        connections: ConnectionPool,
        mirrors: Mapping[str, Mirror],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connections = connections
        self._aborts = Aborts(connections)
        self._clock = clock
        self._mirrors = dict(mirrors)
        self._copies: set[Copy] = set()
        self._watch: asyncio.Task[None] | None = None
        self._behind_seconds = 0.0

    def offer(self, call: Call, pool: Pool) -> None:
        """Copy this call, which is about to be sent, if it is in the share and nothing stands against it."""
        mirror = self._mirrors.get(call.model.name)
        if mirror is None or not mirror.wants(call.call_id):
            return
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch(), name="mirroring")
        against = "busy" if self._behind_seconds > BUSY_SECONDS else None
        against = against or ("load" if _loaded(pool, mirror.settings) else None) or mirror.lacks_room(call)
        if against is not None:
            mirror.counts.dropped[against] += 1
            return
        copy = Copy(call, mirror, pool)
        copy.task = asyncio.create_task(self._run(copy))
        self._copies.add(copy)
        mirror.copies.add(copy)
        mirror.held_bytes += len(call.body)
        copy.task.add_done_callback(lambda _: self._forget(copy))

    def make_room(self, pool: Pool) -> None:
        """A call is about to be placed in this pool: no copy may keep a replica from it."""
        for copy in self._copies:
            if copy.slot is not None and copy.mirror.pool is pool:
                replica = copy.slot.member.replica
                if replica.in_flight >= replica.slots:
                    copy.end("room")

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
        await self._aborts.finish()

    def metrics(self) -> Iterable[Metric]:
        """What became of the copies; see `Metered`."""
        return mirror_metrics(
            {name: (mirror.counts, len(mirror.copies), mirror.held_bytes) for name, mirror in self._mirrors.items()}
        )

    def _forget(self, copy: Copy) -> None:
        """Also of one that never began to run."""
        self._copies.discard(copy)
        copy.mirror.copies.discard(copy)
        copy.mirror.held_bytes -= len(copy.call.body)
        if copy.why is not None:
            copy.mirror.counts.ended[copy.why] += 1

    async def _run(self, copy: Copy) -> None:
        mirror = copy.mirror
        counts = mirror.counts
        try:
            async with asyncio.timeout(mirror.settings.total_seconds):
                await asyncio.sleep(START_AFTER_SECONDS)
                call = replace(copy.call, model=mirror.pool.model)
                member = mirror.choose(call)
                if member is None or member.backend.objection(call, member.replica) is not None:
                    counts.dropped["no_replica" if member is None else "unfit"] += 1
                    return
                copy.slot = mirror.pool.take(member)
                counts.sent += 1
                await self._send(call, member, counts)
            counts.ended["served"] += 1
        except TimeoutError:
            counts.ended["late"] += 1
        except GatewayError as error:
            counts.ended[error.code] += 1
            log.debug("copy failed", call_id=copy.call.call_id, error=error.code, reason=error.message)
        except Exception:
            counts.ended["crashed"] += 1
            log.exception("copy crashed", call_id=copy.call.call_id)
        finally:
            if copy.slot is not None:
                copy.slot.release()

    async def _send(self, call: Call, member: Member, counts: MirrorCounts) -> None:
        """Send a copy and read its answer to the end, without keeping any of it."""
        request = member.backend.prepare(call, member.replica, f"{call.call_id}-mirror")
        try:
            await self._read(call, member, request, counts)
        except BaseException as error:
            if not isinstance(error, ENDED_BY_ENGINE):
                self._aborts.send(member, request)
            raise

    async def _read(self, call: Call, member: Member, request: UpstreamRequest, counts: MirrorCounts) -> None:
        began = self._clock()
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
            if response.status != 200:  # noqa: PLR2004 - the one status that an engine's answer has
                raise member.backend.read_error(response.status, await response.read(MAX_ERROR_BYTES))
            if call.stream:
                await first_events(member, response, sse.EventCutter(MAX_EVENT_BYTES))
                counts.first_event(member.replica.name).observe(self._clock() - began)
            while await response.read_chunk():
                pass
            if not call.stream:
                counts.first_event(member.replica.name).observe(self._clock() - began)
        finally:
            response.close()

    async def _keep_watch(self) -> None:
        """See how far the event loop is behind, and end copies whose model has enough to do without them."""
        while True:
            before = self._clock()
            await asyncio.sleep(TICK_SECONDS)
            self._behind_seconds = max(self._clock() - before - TICK_SECONDS, 0.0)
            for copy in self._copies:
                if self._behind_seconds > BUSY_SECONDS:
                    copy.end("busy")
                elif _loaded(copy.source, copy.mirror.settings):
                    copy.end("load")


def _loaded(pool: Pool, settings: MirrorSettings) -> bool:
    """Whether a model's replicas that are ready are so full that nothing should be added."""
    ready: Sequence[Member] = [member for member in pool.members if member.replica.state is ReplicaState.READY]
    slots = sum(member.replica.slots for member in ready)
    return sum(member.replica.in_flight for member in ready) >= settings.busy_share * slots
