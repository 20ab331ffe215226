"""The outermost ASGI application: gives every request its id and the runtime that is current when it arrives.

Calls at the exact path of an inference endpoint go to it at once: Litestar's way there (its application, the middleware for
exceptions, router and route) does nothing for them, as decision 0002 says.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from gateway.http.endpoints import ENDPOINTS, Endpoint

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive, Send

log = structlog.get_logger("moegate.http")

# Ids are unique, not secret: the generator is seeded by the system once, and saves a system call per request.
_getrandbits = random.Random().getrandbits  # noqa: S311


class Handles(Protocol):
    """The inference endpoints of a runtime."""

    async def handle(self, endpoint: Endpoint, scope: HTTPScope, receive: Receive) -> None:
        """Serve one request to its end; it says its id itself."""


class Serves(Protocol):
    """What the edge needs of a runtime: who handles requests, and to be told who is inside it."""

    @property
    def inference(self) -> Handles:
        """For inference endpoints."""

    @property
    def app(self) -> Any:
        """The ASGI application, for all other paths."""

    in_flight: int

    def left(self) -> None:
        """A request is over."""


class Edge:
    """Hands each request to the current runtime, and keeps it there: a reload never moves a call."""

    def __init__(self, current: Serves) -> None:
        self.current = current

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        if scope["type"] != "http":
            return  # no websockets here; the lifespan is the serve command's own
        call_id = new_call_id()
        state = scope.setdefault("state", {})
        state["call_id"] = call_id
        endpoint = ENDPOINTS.get(scope["path"])
        runtime = self.current
        runtime.in_flight += 1
        try:
            if endpoint is not None:
                await runtime.inference.handle(endpoint, scope, receive)
            else:
                await runtime.app(scope, receive, partial(_send_with_id, send, call_id.encode()))
        except asyncio.CancelledError:
            # Only a stop that waits no longer cancels from outside; the server would log it as a crash of ours.
            log.warning("call ended by the stop", call_id=call_id)
        finally:
            runtime.in_flight -= 1
            runtime.left()


async def _send_with_id(send: Send, call_id: bytes, message: Any) -> None:
    if message["type"] == "http.response.start":
        header = (b"x-moegate-call-id", call_id)
        # Litestar takes other spellings of an inference path too, such as one with a last slash.
        if header not in message["headers"]:
            message["headers"] = [*message["headers"], header]
    await send(message)


def new_call_id() -> str:
    """32 hexadecimal digits: 12 of milliseconds since 1970, so that ids sort by time, and 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{_getrandbits(80):020x}"
