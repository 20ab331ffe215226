"""A TCP relay that stands for the network between a gateway and an engine: it delays, goes silent or resets; it knows no HTTP."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

PIECE_BYTES = 65_536


class Relay:
    """Passes bytes on, both ways, in whatever way the network is now.

    Attributes:
        port: where it listens on 127.0.0.1.
        delay_seconds: how much later each piece arrives.
        open: connections that the gateway has not closed.
        swallowed: bytes that went nowhere.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.delay_seconds = 0.0
        self.open = 0
        self.swallowed = 0
        self._target = target
        self._heard = asyncio.Event()
        self._heard.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def partition(self) -> None:
        """From now on nothing arrives, and nobody is told: no FIN, no RST. What is connected stays half-open for good."""
        self._heard.clear()
        for task in self._tasks:
            task.cancel("cut off")

    def heal(self) -> None:
        """New connections pass again; those that were cut off do not come back."""
        self._heard.set()

    def reset(self) -> None:
        """Break every connection with a TCP reset."""
        for writer in list(self._writers):
            with suppress(OSError):
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def aclose(self) -> None:
        """Close all connections."""
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self._writers.add(writer)
        try:
            if self._heard.is_set():
                await self._join(reader, writer)
            else:
                await self._swallow(reader)
        except OSError:
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_engine, to_engine = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [asyncio.create_task(self._pass(*way)) for way in ((reader, to_engine), (from_engine, writer))]
        self._tasks.update(ways)
        try:
            # The first that ends ends both: an engine that closed, a gateway that left, or a network that was cut.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut_off = not self._heard.is_set()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._tasks.difference_update(ways)
            to_engine.transport.abort()
        if cut_off:
            await self._swallow(reader)

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(PIECE_BYTES):
            self.swallowed += len(data)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                await asyncio.sleep(self.delay_seconds)  # the way is that long
                writer.write(data)
                await writer.drain()
