"""Sends a request to an engine over a connection that is kept, or a new one; the one retry it knows is the keep-alive race."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING

from gateway.errors import UpstreamUnreachable
from gateway.upstream.deadlines import sweep_seconds
from gateway.upstream.head import EMPTY_BLOCK, HeaderBlock, Headers, encode_headers, request_head
from gateway.upstream.protocol import Connection
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.roster import Lane, PoolStats, Roster

if TYPE_CHECKING:
    from gateway.upstream.origin import Limits, Origin, Timeouts


class ConnectionPool:
    """HTTP/1.1 connections to any number of origins, for one event loop.

    Args:
        limits: what an engine may use of us.
        tls: for https origins; None for the system's trust store, certificates and host names verified.
    """

    __slots__ = ("_limits", "_roster", "_tls")

    def __init__(self, limits: Limits, *, tls: ssl.SSLContext | None = None) -> None:
        self._limits = limits
        self._tls = tls
        # Bound to the loop of the first call: a pool may be made before any loop runs.
        self._roster: Roster | None = None

    async def send(  # noqa: PLR0913 - a request has that many parts, and building an object of them costs on each call
        self,
        origin: Origin,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        timeouts: Timeouts,
        *,
        prepared: HeaderBlock = EMPTY_BLOCK,
    ) -> UpstreamResponse:
        """Send one request; return once the head of its final answer is in (1xx are skipped).

        A kept connection that dies before the first byte of the answer is the keep-alive race: the engine closed it
        while our request was on its way, so the request goes out once more on a new connection. Nothing else is
        retried here.

        Args:
            origin: whom to ask.
            method: such as b"POST".
            target: path and query in origin form, such as b"/v1/chat/completions".
            headers: those of this call; Host, Connection and the body's framing are the pool's to write.
            body: may be empty.
            timeouts: for this call.
            prepared: further headers, encoded once by `encode_headers` for many calls.

        Raises:
            ValueError: method, target or a header is malformed or would smuggle; nothing was sent.
            UpstreamUnreachable: no connection, or it died before a byte of the answer.
            UpstreamTimeout: the head of the answer was not complete in time.
            UpstreamBroken: the answer is malformed or was cut short.
        """
        roster = self._roster or self._bind()
        lane = roster.lane(origin)
        fields = prepared + encode_headers(headers) if headers else prepared
        head = request_head(method, target, lane.host, fields, len(body))
        bodiless = method == b"HEAD"
        connection = roster.reuse(lane, sweep_seconds(timeouts))
        if connection is not None:
            try:
                await connection.request(head, body, timeouts.first_byte_seconds, bodiless=bodiless)
            except UpstreamUnreachable:
                connection = None
        if connection is None:
            connection = await self._connect(roster, lane, timeouts)
            await connection.request(head, body, timeouts.first_byte_seconds, bodiless=bodiless)
        return UpstreamResponse(connection, roster, timeouts.idle_seconds, self._limits.max_body_bytes)

    def stats(self) -> PoolStats:
        """What there is now; zeros before the first call."""
        return self._roster.stats() if self._roster is not None else PoolStats(0, 0, 0, 0, 0)

    async def aclose(self) -> None:
        """Close every connection, those in use too, and wait until their sockets are gone; later calls are refused."""
        await (self._roster or self._bind()).aclose()

    def _bind(self) -> Roster:
        roster = self._roster = Roster(asyncio.get_running_loop(), self._limits)
        return roster

    async def _connect(self, roster: Roster, lane: Lane, timeouts: Timeouts) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, lane, self._limits, roster)
        roster.enrol(connection, sweep_seconds(timeouts))
        origin = lane.origin
        try:
            async with asyncio.timeout(timeouts.connect_seconds):
                await loop.create_connection(lambda: connection, origin.host, origin.port, ssl=self._tls_for(origin))
        except TimeoutError:
            connection.abort()
            raise UpstreamUnreachable(f"{lane.label}: no connection within the connect timeout") from None
        except (OSError, UnicodeError) as error:
            connection.abort()
            raise UpstreamUnreachable(f"{lane.label}: {_reason(error)}") from None
        except BaseException:
            connection.abort()
            raise
        if connection.error is not None:  # The pool was closed meanwhile, or the engine is no HTTP server.
            raise connection.error
        roster.connection_opened(connection)
        return connection

    def _tls_for(self, origin: Origin) -> ssl.SSLContext | None:
        if origin.scheme != "https":
            return None
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def _reason(error: OSError | UnicodeError) -> str:
    """Why a connection failed, without the address that asyncio writes into its own texts."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {error.reason or 'no reason given'}"
    if isinstance(error, UnicodeError):
        return "its host name cannot be looked up"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else type(error).__name__
