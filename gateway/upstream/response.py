"""What a call holds of an answer: status, headers, and a body that comes as the engine sends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import UpstreamBroken

if TYPE_CHECKING:
    from gateway.upstream.protocol import Connection, Sink
    from gateway.upstream.roster import Roster


class UpstreamResponse:
    """One answer of an engine, its head complete. Whoever gets one must `close` it.

    Attributes:
        status: 200 to 599.
        headers: in the engine's order, names in lower case, repeated ones apart.
    """

    __slots__ = ("_connection", "_idle_seconds", "_max_body_bytes", "_roster", "_timer", "headers", "status")

    def __init__(self, connection: Connection, roster: Roster, idle_seconds: float, max_body_bytes: int) -> None:
        self._connection: Connection | None = connection
        self._roster = roster
        self._timer: asyncio.TimerHandle | None = None
        self._idle_seconds = idle_seconds
        self._max_body_bytes = max_body_bytes
        self.status = connection.parser.status
        self.headers = connection.parser.headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, named in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def end_within(self, seconds: float) -> None:
        """Fail whoever reads it when it has not come to its end in so many seconds, however lively it is until then."""
        connection = self._connection
        if connection is not None:
            self._timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), connection.overstay)

    async def read_chunk(self, within_seconds: float | None = None) -> bytes:
        """The next piece of the body: all that came since the last call; b"" at its end.

        One task at a time. What came before a failure is delivered before the failure is raised.

        Args:
            within_seconds: how long to wait for it; None for the idle timeout.

        Raises:
            UpstreamTimeout: nothing more came in time.
            UpstreamBroken: the body is malformed or cut short, or `close` was called meanwhile.
        """
        connection = self._connection
        if connection is None:
            raise RuntimeError("the response is closed")
        seconds = self._idle_seconds if within_seconds is None else within_seconds
        parser = connection.parser
        while not parser.buffered:
            if connection.finished():
                return b""
            await connection.wait(seconds)
            if self._connection is None:
                # The connection may already serve another call.
                raise UpstreamBroken("the response was closed while it was being read")
        return connection.take()

    async def pass_on(self, sink: Sink, within_seconds: float | None = None) -> bool:
        """Give the body to `sink`, each piece as soon as it comes. To be called again while there is more.

        One task at a time. What came before a failure is given before the failure is raised.

        Args:
            sink: returns whether it takes the next piece at once; if not, this returns, and the engine is held back until it
                is called again. Called by the event loop and not in this task, so it must not block; what it raises is raised here.
            within_seconds: how long to wait for each piece; None for the idle timeout.

        Returns:
            Whether there may be more: False at the body's end.

        Raises:
            UpstreamTimeout: as for `read_chunk`.
            UpstreamBroken: as for `read_chunk`.
        """
        connection = self._connection
        if connection is None:
            raise RuntimeError("the response is closed")
        if connection.parser.buffered and not sink(connection.take()):
            return True
        if connection.finished():
            return False
        await connection.pass_on(sink, self._idle_seconds if within_seconds is None else within_seconds)
        if self._connection is None:
            raise UpstreamBroken("the response was closed while it was being read")
        return connection.parser.buffered > 0 or not connection.finished()

    async def read(self, limit_bytes: int | None = None) -> bytes:
        """The rest of the body, whole.

        Args:
            limit_bytes: the most to accept; None for the pool's `max_body_bytes`.

        Raises:
            UpstreamTimeout: as for `read_chunk`.
            UpstreamBroken: as for `read_chunk`, or the body is longer than allowed.
        """
        limit = self._max_body_bytes if limit_bytes is None else limit_bytes
        chunks: list[bytes] = []
        size = 0
        while chunk := await self.read_chunk():
            size += len(chunk)
            if size > limit:
                raise UpstreamBroken(f"the response body is longer than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Give the connection back if the answer came to its end, else abort it at once; harmless when repeated."""
        connection = self._connection
        if self._timer is not None:
            self._timer.cancel()
        if connection is not None:
            self._connection = None
            self._roster.release(connection)
