"""One HTTP request and its answer over plain ASGI: reads a bounded body, writes, and notices when the client leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.contracts.call import Outcome
from gateway.dataplane import sse
from gateway.errors import BodyTooLarge, GatewayError, RequestTimedOut
from gateway.http import errors
from gateway.http.errors import Headers

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive, Send


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class Exchange:
    """The client's side of a call.

    Once `watch` was called, a client that leaves cancels the task that serves it, whatever that task waits for; `gone`
    then tells this cancellation from the server's own.
    """

    __slots__ = ("_call_id", "_debug", "_receive", "_send", "_task", "_watcher", "gone", "headers", "started")

    def __init__(self, scope: HTTPScope, receive: Receive, *, debug: bool = False) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.started = False
        self.gone = False
        self._receive = receive
        self._send: Send = scope["state"]["send"]  # the edge's, without what wraps it on the way to here
        self._debug = debug
        self._call_id: str = scope["state"]["call_id"]
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def read_body(self, limit_bytes: int, seconds: float) -> bytes:
        """Read the request's body.

        Raises:
            BodyTooLarge: it is, or says it is, longer than the limit.
            RequestTimedOut: it did not come in time.
            ClientLeft: it never will.
        """
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise BodyTooLarge(f"The request body is over {limit_bytes} bytes.")
        try:
            async with asyncio.timeout(seconds):
                return await self._read_body(limit_bytes)
        except TimeoutError as error:
            raise RequestTimedOut(f"The request body did not arrive within {seconds:g} seconds.") from error

    async def _read_body(self, limit_bytes: int) -> bytes:
        pieces: list[bytes] = []
        length = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientLeft
            piece: bytes = message["body"]
            length += len(piece)
            if length > limit_bytes:
                raise BodyTooLarge(f"The request body is over {limit_bytes} bytes.")
            if not message["more_body"]:
                return b"".join((*pieces, piece)) if pieces else piece
            pieces.append(piece)

    def watch(self) -> None:
        """Cancel the current task when the client leaves. Litestar does not do it before the first byte."""
        self._task = asyncio.current_task()
        self._watcher = asyncio.create_task(self._wait_for_disconnect())

    def release(self) -> None:
        """Stop watching."""
        self._task = None
        if self._watcher is not None:
            self._watcher.cancel()

    async def _wait_for_disconnect(self) -> None:
        message = await self._receive()
        while message["type"] != "http.disconnect":
            message = await self._receive()
        if self._task is not None:
            self.gone = True
            self._task.cancel()

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the body; waits while the client reads too slowly."""
        if not more:
            self._task = None  # the server reports a disconnect after a complete answer too
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def fail(self, error: GatewayError, outcome: Outcome | None = None) -> None:
        """Tell of a failure: as a status where none was sent yet, else as the stream's last event, without `[DONE]`."""
        body = errors.body_of(error, debug=self._debug)
        if self.started:
            await self.write(sse.event(body), more=False)
            return
        headers = errors.headers_of(error)
        headers.append((b"x-moegate-call-id", self._call_id.encode()))
        headers.append((b"content-length", b"%d" % len(body)))
        status = errors.status_of(error)
        if outcome is not None:
            outcome.status = status
            if outcome.attempts:
                last = outcome.attempts[-1]
                headers.append((b"x-moegate-backend", last.backend.encode()))
                headers.append((b"x-moegate-replica", last.replica.encode()))
            headers.append((b"x-moegate-attempts", b"%d" % len(outcome.attempts)))
        await self.start(status, headers)
        await self.write(body, more=False)
