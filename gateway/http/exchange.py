"""One HTTP request and its answer: reads a bounded body, writes, and notices when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gateway.contracts.call import Outcome
from gateway.dataplane.relay import edit_headers
from gateway.errors import BodyTooLarge, GatewayError, RequestTimedOut
from gateway.http import errors
from gateway.http.errors import Headers
from gateway.http.shapes import Shape

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class Line(Protocol):
    """The connection to the client for one request, past the messages of ASGI; the server puts it into the scope's state."""

    def body(self) -> bytes | None:
        """All of the request's body; None if it has not come yet, or if nobody waits for an answer."""

    def watch(self, on_loss: Callable[[], None]) -> None:
        """Call `on_loss` once when the connection is lost before the answer is complete; at once if it is already."""

    def release(self) -> None:
        """Watch no more."""

    def start(self, status: int, headers: Headers) -> None:
        """Keep status and headers until the first piece of the body."""

    def send(self, piece: bytes) -> bool:
        """Send a piece of the body that others follow; whether the next may follow at once, else it has to wait until `ready`."""

    async def ready(self) -> None:
        """Wait while the client reads too slowly; what is sent then leaves at once."""

    def finish(self, piece: bytes) -> None:
        """Send the last piece of the body, which may be empty."""


class Exchange:
    """The client's side of a call.

    Once `watch` was called, a client that leaves cancels the task that serves it, whatever that task waits for; `gone`
    then tells this cancellation from the server's own.
    """

    __slots__ = (
        "_added",
        "_before_last",
        "_call_id",
        "_debug",
        "_line",
        "_receive",
        "_shape",
        "_task",
        "gone",
        "headers",
        "ready",
        "send",
        "started",
    )

    def __init__(self, scope: HTTPScope, receive: Receive, shape: Shape, *, debug: bool = False) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.started = False
        self.gone = False
        self._receive = receive
        # Out of the state, which leads back to itself through it: then no call leaves work for the garbage collector.
        line: Line = scope["state"].pop("line")
        self._line = line
        self.send = line.send
        self.ready = line.ready
        self._added: Headers = []
        self._before_last: Callable[[], None] | None = None
        self._shape = shape
        self._debug = debug
        self._call_id: str = scope["state"]["call_id"]
        self._task: asyncio.Task[object] | None = None

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
        body = self._line.body()
        if body is not None:  # nearly always: it came in one packet with the head
            if len(body) > limit_bytes:
                raise BodyTooLarge(f"The request body is over {limit_bytes} bytes.")
            return body
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
        self._line.watch(self._leave)

    def release(self) -> None:
        """Stop watching."""
        self._task = self._before_last = None
        self._line.release()

    def _leave(self) -> None:
        if self._task is not None:
            self.gone = True
            self._task.cancel()

    def add_headers(self, headers: Headers) -> None:
        """Send these too, with whatever status comes."""
        self._added += headers

    def before_last(self, hook: Callable[[], None]) -> None:
        """Call this when the last piece of an answer or an error is about to leave, and only then."""
        self._before_last = hook

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers, together with the first piece of the body."""
        self._line.start(status, headers + self._added if self._added else headers)
        self.started = True

    async def finish(self, piece: bytes) -> None:
        """Send the last piece of the body; waits while the client reads too slowly."""
        await self._line.ready()
        if self._before_last is not None:
            self._before_last()
        self._line.finish(piece)

    async def fail(self, error: GatewayError, outcome: Outcome | None = None) -> None:
        """Tell of a failure: as a status where none was sent yet, else as the stream's last event, and no end after it."""
        told = errors.told(error, debug=self._debug)
        if self.started:
            events = outcome.streamed_events if outcome is not None else 0
            await self.finish(self._shape.event(told, self._call_id, events))
            return
        body = self._shape.body(told, self._call_id)
        headers = errors.headers_of(error)
        headers.append((b"x-moegate-call-id", self._call_id.encode()))
        headers.append((b"content-length", b"%d" % len(body)))
        if outcome is not None:
            outcome.status = told.status
            if outcome.attempts:
                last = outcome.attempts[-1]
                headers.append((b"x-moegate-backend", last.backend.encode()))
                headers.append((b"x-moegate-replica", last.replica.encode()))
            headers.append((b"x-moegate-attempts", b"%d" % len(outcome.attempts)))
            headers += edit_headers(outcome.transforms, outcome.dropped_params)
        await self.start(told.status, headers)
        await self.finish(body)
