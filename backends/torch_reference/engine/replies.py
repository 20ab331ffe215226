"""Sends answers over ASGI and notices clients that leave; it must not know what an answer says."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable

import msgspec
from litestar.types import Receive, Scope, Send

from backends.torch_reference.engine.errors import ApiError, EngineFailure
from backends.torch_reference.engine.generation import Generation
from backends.torch_reference.engine.metrics import Metrics, Outcome
from backends.torch_reference.engine.sse import encode_event

logger = logging.getLogger(__name__)

JSON_TYPE = b"application/json"
STREAM_TYPE = b"text/event-stream; charset=utf-8"


async def client_left(receive: Receive) -> None:
    """Return when the client is gone; to be called once the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def error_headers(error: ApiError) -> dict[str, str]:
    """Return the headers that an error brings."""
    return {} if error.retry_after_seconds is None else {"retry-after": str(error.retry_after_seconds)}


class InferenceReply:
    """The reply to a request whose answer is being generated.

    Nothing is sent before there is something to say, so that a failure up to then still has a status of its own.
    When the client leaves, or the server cancels, generation stops: whether streamed or not, running or queued.
    """

    def __init__(
        self,
        generation: Generation,
        produce: Callable[[Generation], AsyncGenerator[bytes, None]],
        metrics: Metrics,
        *,
        headers: dict[str, str],
        streamed: bool,
    ) -> None:
        """Prepare the reply; `produce` yields its body in pieces."""
        self._generation = generation
        self._produce = produce
        self._metrics = metrics
        self._streamed = streamed
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._begun = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, or stop when the client leaves."""
        outcome: Outcome = "disconnected"
        sender = asyncio.create_task(self._send_all(send))
        watcher = asyncio.create_task(client_left(receive))
        try:
            await asyncio.wait({sender, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if sender.done():
                outcome = sender.result()
        finally:
            self._generation.cancel()
            self._metrics.outcomes[outcome] += 1
            for task in (sender, watcher):
                task.cancel()
            await asyncio.gather(sender, watcher, return_exceptions=True)

    async def _send_all(self, send: Send) -> Outcome:
        try:
            async with contextlib.aclosing(self._produce(self._generation)) as pieces:
                async for piece in pieces:
                    await self._send_piece(send, piece)
        except Exception as error:
            if not isinstance(error, ApiError):
                logger.exception("a reply failed")
                error = EngineFailure("the engine failed to answer")
            await self._send_error(send, error)
            return "failed"
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return "completed"

    async def _send_piece(self, send: Send, piece: bytes) -> None:
        if not self._begun:
            headers = [(b"content-type", STREAM_TYPE if self._streamed else JSON_TYPE), *self._headers]
            if self._streamed:
                headers.append((b"cache-control", b"no-cache"))
            else:
                headers.append((b"content-length", str(len(piece)).encode()))
            await self._start(send, 200, headers)
        await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _send_error(self, send: Send, error: ApiError) -> None:
        body = error.body()
        if self._begun:
            # The status is out: the last event says what happened, and no [DONE] follows.
            body = encode_event(msgspec.Raw(body))
        else:
            extra = [(name.encode(), value.encode()) for name, value in error_headers(error).items()]
            await self._start(send, error.status, [(b"content-type", JSON_TYPE), *self._headers, *extra])
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _start(self, send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._begun = True
        await send({"type": "http.response.start", "status": status, "headers": headers})
