"""A connection of the server's own protocol without a socket, before an application that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from gateway.http.crowd import Crowd
from gateway.http.protocol import DirectLine, PatientProtocol
from tests.unit.builders import until

DATE = (b"date", b"today")
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: moegate\r\n"
JSON = (b"content-type", b"application/json")
Serve = Callable[[DirectLine], Awaitable[None]]


class Transport(asyncio.Transport):
    """A socket that keeps what is written, one entry a write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = self.aborted = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.closed = self.aborted = True

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Connection:
    """One connection to an application that does what a test says with the line of each request."""

    def __init__(self, *serve: Serve, crowd: Crowd | None = None) -> None:
        self.lines: list[DirectLine] = []
        self.served = 0
        self._serve = list(serve)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            line = scope["state"]["line"]
            self.lines.append(line)
            await self._serve[len(self.lines) - 1](line)
            self.served += 1

        config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        state.default_headers = [DATE]
        self.transport = Transport()
        self.protocol = PatientProtocol(config=config, server_state=state, app_state={}, crowd=crowd or Crowd(10))
        self.protocol.connection_made(self.transport)

    async def ask(self, request: bytes = POST + b"content-length: 2\r\n\r\n{}", served: int = 1) -> list[bytes]:
        """What is written until that many requests have been served."""
        self.protocol.data_received(request)
        await until(lambda: self.served == served)
        return self.transport.written

    def end(self) -> None:
        """Let the timers of the connection go."""
        self.protocol.connection_lost(None)


async def answers(line: DirectLine) -> None:
    line.start(200, [JSON, (b"content-length", b"2")])
    line.finish(b"{}")


async def streams(line: DirectLine) -> None:
    line.start(200, [])
    for piece in (b"one", b"", b"two"):
        line.send(piece)
    line.finish(b"")


async def waits(line: DirectLine) -> None:
    gone = asyncio.Event()
    line.watch(gone.set)
    await gone.wait()
