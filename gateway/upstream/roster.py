"""Which connections there are, who holds them, and what is overdue; opens no socket and sends nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.errors import UpstreamUnreachable
from gateway.upstream.deadlines import FASTEST_SWEEP_SECONDS, Sweeper

if TYPE_CHECKING:
    from gateway.upstream.origin import Limits, Origin
    from gateway.upstream.protocol import Connection


class PoolStats(Struct, frozen=True):
    """Connections as they are now, and two totals since the start.

    Attributes:
        open: idle and in use together.
        idle: kept for the next call.
        in_use: held by a call, or being opened for one.
    """

    open: int
    idle: int
    in_use: int
    opened_total: int
    reused_total: int


class Lane:
    """The connections to one origin.

    Attributes:
        idle: released connections, the longest idle first.
        open: connections that count against the limit, those being opened included.
        label: `host:port` for errors.
        host: the value of the Host header.
    """

    __slots__ = ("host", "idle", "label", "open", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.label = origin.label
        self.host = origin.host_header
        self.idle: list[Connection] = []
        self.open = 0


class Roster:
    """Keeps every connection of a pool in exactly one place: held by a call, idle in its lane, or gone.

    It lives on one event loop, so plain sets and counters do.
    """

    __slots__ = (
        "_drained",
        "_held",
        "_idle_keepalive_seconds",
        "_lanes",
        "_loop",
        "_max_idle",
        "_max_open",
        "_sockets",
        "_sweeper",
        "closed",
        "opened_total",
        "reused_total",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._idle_keepalive_seconds = limits.idle_keepalive_seconds
        self._max_idle = limits.max_idle_per_origin
        self._max_open = limits.max_connections_per_origin
        self._lanes: dict[Origin, Lane] = {}
        self._held: set[Connection] = set()
        self._sockets: set[Connection] = set()
        self._sweeper = Sweeper(loop, self._sweep)
        self._drained: asyncio.Future[None] | None = None
        self.closed = False
        self.opened_total = 0
        self.reused_total = 0

    def stats(self) -> PoolStats:
        """Count."""
        idle = sum(len(lane.idle) for lane in self._lanes.values())
        in_use = len(self._held)
        return PoolStats(idle + in_use, idle, in_use, self.opened_total, self.reused_total)

    def lane(self, origin: Origin) -> Lane:
        """The record of an origin; it is kept from its first connection to its last."""
        return self._lanes.get(origin) or Lane(origin)

    def reuse(self, lane: Lane, sweep_seconds: float) -> Connection | None:
        """The connection that was released last, if one is idle: the one least likely to be closed under us.

        `sweep_seconds`: how often the call that takes it wants its deadlines looked at.
        """
        if not lane.idle:
            return None
        connection = lane.idle.pop()
        self._hold(connection, sweep_seconds)
        self.reused_total += 1
        return connection

    def enrol(self, connection: Connection, sweep_seconds: float) -> None:
        """Count a connection that is about to be opened, held from now on as one taken by `reuse`.

        Raises:
            UpstreamUnreachable: the pool is closed, or the origin has all the connections it may have.
        """
        if self.closed:
            raise UpstreamUnreachable("the connection pool is closed")
        # While a kept connection failed this call, its lane may have been dropped and another call have made a new one.
        lane = connection.lane = self._lanes.get(connection.lane.origin, connection.lane)
        if lane.open >= self._max_open:
            raise UpstreamUnreachable(f"{lane.label}: all {self._max_open} connections are in use")
        self._lanes[lane.origin] = lane
        lane.open += 1
        self._hold(connection, sweep_seconds)

    def release(self, connection: Connection) -> None:
        """A call is through with its connection: keep it if it can serve another one, else close it."""
        if connection.error is not None:
            return
        if not connection.reusable or self._max_idle == 0:
            connection.abort()
            return
        idle = connection.lane.idle
        if len(idle) >= self._max_idle:
            idle[0].abort()
        self._held.discard(connection)
        connection.deadline = self._loop.time() + self._idle_keepalive_seconds
        # The sweeper is armed: it was for the call that ends here, and it stays while anything is held or idle.
        idle.append(connection)

    async def aclose(self) -> None:
        """Close everything and wait until the event loop is done with every socket."""
        self.closed = True
        idle = [connection for lane in self._lanes.values() for connection in lane.idle]
        for connection in (*self._held, *idle):
            connection.abort()
        self._sweeper.stop()
        if self._sockets:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    # What becomes of connections

    def connection_opened(self, connection: Connection) -> None:
        """Connecting has succeeded: from here on, and no sooner, the loop will report `connection_closed`.

        uvloop closes the socket of a cancelled attempt without a word to the protocol, even after `connection_made`.
        """
        self._sockets.add(connection)
        self.opened_total += 1

    def connection_gone(self, connection: Connection) -> None:
        """It can serve no call any more: no longer held, idle, or counted."""
        lane = connection.lane
        if connection in self._held:
            self._held.discard(connection)
        else:
            lane.idle.remove(connection)
        lane.open -= 1
        if lane.open == 0:
            # Origins come and go with the configuration; their records must not pile up.
            self._lanes.pop(lane.origin, None)

    def connection_closed(self, connection: Connection) -> None:
        """The loop is done with its socket."""
        self._sockets.discard(connection)
        if self._drained is not None and not self._sockets and not self._drained.done():
            self._drained.set_result(None)

    def _hold(self, connection: Connection, sweep_seconds: float) -> None:
        self._held.add(connection)
        connection.sweep_seconds = sweep_seconds
        self._sweeper.within(sweep_seconds)

    def _sweep(self, now: float) -> float | None:
        """Fail who has waited too long, drop who was idle too long; seconds until the next look, None if idle."""
        waits: list[float] = []
        for connection in tuple(self._held):
            connection.expire(now)
            waits.append(connection.sweep_seconds)
        for lane in tuple(self._lanes.values()):
            while lane.idle and lane.idle[0].deadline <= now:
                lane.idle[0].abort()
            if lane.idle:
                waits.append(max(lane.idle[0].deadline - now, FASTEST_SWEEP_SECONDS))
        return min(waits, default=None)
