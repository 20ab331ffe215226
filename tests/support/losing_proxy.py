"""Stands between a client and a server, and on demand loses an answer: the server has done what it was asked, nobody hears."""

from __future__ import annotations

import asyncio
import contextlib
import ssl


class LosingProxy:
    """A TCP proxy.

    Args:
        target: port of the server.
        tls: what clients get, if they are to speak TLS.

    Attributes:
        port: where it listens on 127.0.0.1.
        losing: whether the next answer is lost, and its connection with it.
    """

    def __init__(self, target: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.losing = False
        self._target = target
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Close all connections."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
            asking = asyncio.create_task(self._ask(reader, to_server))
            try:
                await self._answer(from_server, writer)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                to_server.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self.losing:
                self.losing = False
                return
            writer.write(data)
