"""Stands before a real engine and does one thing wrong, as a gateway or a network on the way would; it knows no comparison."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

CALL_SECONDS = 600.0
START_SECONDS = 60.0
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Fault:
    """What is done to chat calls.

    Attributes:
        temperature: in place of what the call says.
        cut_every: of so many calls one is cut off after its first piece; 0 cuts none.
        event_seconds: how much later each event arrives than the one before it.
    """

    temperature: float | None = None
    cut_every: int = 0
    event_seconds: float = 0.0


class _Cut(Exception):
    """Ends a connection in the middle of an answer."""


class _Step:
    """An ASGI application that passes calls on to an engine."""

    def __init__(self, engine: str, fault: Fault) -> None:
        self._engine = engine
        self._fault = fault
        self._chats = 0
        self._http = httpx.AsyncClient(trust_env=False, timeout=CALL_SECONDS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The server's life, or one call."""
        await (self._live(receive, send) if scope["type"] == "lifespan" else self._pass_on(scope, receive, send))

    async def _live(self, receive: Any, send: Any) -> None:
        """Closes the connections to the engine in the loop that they belong to, before it ends."""
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await self._http.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        content, more = b"", True
        while more:
            message = await receive()
            content, more = content + message.get("body", b""), message.get("more_body", False)
        chat = scope["path"] == CHAT
        if chat and self._fault.temperature is not None:
            content = json.dumps({**json.loads(content), "temperature": self._fault.temperature}).encode()
        self._chats += chat
        cut = chat and self._fault.cut_every and self._chats % self._fault.cut_every == 0
        headers = [each for each in scope["headers"] if each[0] not in (b"host", b"content-length")]
        url = f"{self._engine}{scope['path']}?{scope['query_string'].decode()}"
        async with self._http.stream(scope["method"], url, content=content, headers=headers) as answer:
            kept = [each for each in answer.headers.raw if each[0].lower() in (b"content-type", b"x-request-id")]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            async for piece in answer.aiter_raw():
                for event in piece.splitlines(keepends=True):
                    if chat and event.startswith(b"data:"):
                        await asyncio.sleep(self._fault.event_seconds)  # the fault itself
                    await send({"type": "http.response.body", "body": event, "more_body": True})
                if cut:
                    raise _Cut
            await send({"type": "http.response.body", "body": b""})


@contextmanager
def sabotaged(engine: str, fault: Fault) -> Iterator[str]:
    """The URL at which the engine is to be had with the fault."""
    settings = uvicorn.Config(_Step(engine, fault), log_level="critical", lifespan="on", ws="none", access_log=False)
    server = uvicorn.Server(settings)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)
