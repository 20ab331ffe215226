"""Tells engines that do not notice a closed connection to stop; a call never waits for it, and no failure of it counts."""

from __future__ import annotations

import asyncio

import structlog

from gateway.contracts.backend import UpstreamRequest
from gateway.fleet.pool import Member
from gateway.upstream import ConnectionPool, Timeouts

log = structlog.get_logger("moegate.aborts")

# When clients leave by the hundred, the engines have more to do than to be told of each; they find out in the end.
MOST_AT_ONCE = 64
SECONDS = 5.0
MAX_ANSWER_BYTES = 64 * 1024

_TIMEOUTS = Timeouts(connect_seconds=SECONDS, first_byte_seconds=SECONDS, idle_seconds=SECONDS)


class Aborts:
    """Aborts on their way."""

    def __init__(self, connections: ConnectionPool) -> None:
        self._connections = connections
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, member: Member, request: UpstreamRequest) -> None:
        """Have a request that was given up before its end aborted by its engine, if the engine needs that."""
        try:
            abort = member.backend.abort(request)
        except Exception:
            log.exception("backend crashed", backend=member.backend.kind)  # the call has an ending of its own
            return
        if abort is None:
            return
        if len(self._tasks) >= MOST_AT_ONCE:
            log.debug("abort dropped, too many are on their way", replica=member.replica.name)
            return
        task = asyncio.create_task(self._send(member, abort))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, seconds: float = SECONDS) -> None:
        """Wait for those on their way, but no longer than `seconds`; what is left then is given up."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _send(self, member: Member, abort: UpstreamRequest) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                response = await self._connections.send(
                    member.origin,
                    b"POST",
                    (member.base_path + abort.path).encode(),
                    abort.headers,
                    abort.body,
                    _TIMEOUTS,
                    prepared=member.headers,
                )
                try:
                    await response.read(MAX_ANSWER_BYTES)  # to its end, so that the connection can be kept
                finally:
                    response.close()
        except Exception as error:  # noqa: BLE001 - nobody waits for it, so nobody else could take it
            log.debug("abort failed", replica=member.replica.name, error=repr(error))
        else:
            log.debug("aborted", replica=member.replica.name, status=response.status)
