"""A TCP server that does exactly what a test scripts, byte by byte; it knows just enough HTTP to read a request.

A script is a coroutine that is run once for every connection:

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\\r\\ncontent-le")
        await gate.wait()
        await peer.send(b"ngth: 0\\r\\n\\r\\n")
        await peer.client_closed()

When it returns, the connection is closed in good order. An error in a script fails the test that runs it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from gateway.upstream import Origin

Script = Callable[["Peer"], Awaitable[None]]


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived; header names in lower case."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)


class Peer:
    """The server's end of one connection.

    Attributes:
        number: 0 for the first connection that the server accepted, then 1, and so on.
    """

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer

    async def request_head(self) -> ReceivedRequest:
        """Read one request's head and leave its body unread.

        Raises:
            asyncio.IncompleteReadError: the client closed instead.
        """
        lines = (await self._reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n").split(b"\r\n")
        method, target, version = lines[0].split(b" ")
        assert version == b"HTTP/1.1"
        headers = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines[1:])]
        return ReceivedRequest(method, target, headers, b"")

    async def request(self) -> ReceivedRequest:
        """Read one whole request.

        Raises:
            asyncio.IncompleteReadError: the client closed instead.
        """
        head = await self.request_head()
        body = await self._reader.readexactly(int(head.header(b"content-length") or 0))
        return ReceivedRequest(head.method, head.target, head.headers, body)

    async def receive(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        return await self._reader.readexactly(count)

    async def send(self, *pieces: bytes) -> None:
        """Write the pieces as separate writes, with a turn of the event loop after each."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def client_closed(self) -> None:
        """Wait until the client's end is closed; what it still sends is dropped."""
        await self.count_until_closed()

    async def count_until_closed(self) -> int:
        """Wait until the client's end is closed; how many bytes it still sent."""
        count = 0
        with suppress(ConnectionError):
            while data := await self._reader.read(65536):
                count += len(data)
        return count

    def finish(self) -> None:
        """Close our direction only; we go on reading."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Close with a TCP reset, whatever is still unread or unsent."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class RawServer:
    """What a test knows of a running server.

    Attributes:
        origin: where it listens.
        https_origin: the same address, for a client that expects TLS there.
        connections: how many it has accepted.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[Exception] = []
        self.connections = 0
        # Known once it listens.
        self.origin = self.https_origin = Origin("http", "127.0.0.1", 1)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(self.connections, reader, writer)
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._run(peer, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, peer: Peer, writer: asyncio.StreamWriter) -> None:
        try:
            await self._script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client went away in the middle of the script: the test sees that on its side.
        except Exception as error:  # noqa: BLE001 (whatever a script raises belongs to the test, see `stop`)
            self._errors.append(error)
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._errors:
            raise self._errors[0]


@asynccontextmanager
async def raw_server(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serve a script on a free port of 127.0.0.1; scripts still running at the end are cancelled."""
    server = RawServer(script)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server.https_origin = Origin("https", "127.0.0.1", port)
    server.origin = server.https_origin if tls else Origin("http", "127.0.0.1", port)
    try:
        yield server
    finally:
        listener.close()
        await server.stop()
        await listener.wait_closed()


def answering(*pieces: bytes) -> Script:
    """A script that answers every request of a connection with these writes, until the client closes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces)

    return script


def answering_once(*pieces: bytes) -> Script:
    """A script that answers one request with these writes and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return script
