"""uvicorn's connection, less what a gateway must not have and with a direct line to inference calls; it parses nothing itself."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.errors import GatewayError, RequestTimedOut, TooManyConnections
from gateway.http import errors
from gateway.http.crowd import Crowd
from gateway.http.errors import Headers
from gateway.http.shapes import OPENAI

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# Far above what clients send, and above what proxies let pass.
MAX_HEAD_BYTES = 64 * 1024

# One line of a head, out of a header's name and value.
_line = b": ".join

_UPGRADE = re.compile(rb"(?i)\r\nupgrade:")


class PatientProtocol(HttpToolsProtocol):
    """What llhttp and uvicorn leave to others.

    Neither bounds request line and headers, the time that they take, or the number of connections: without this, anyone
    could fill the memory. And httptools skips the body of a request that offers an upgrade, which Java's own client does
    with every first one (`Upgrade: h2c`).
    """

    def __init__(self, *args: Any, crowd: Crowd, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._crowd = crowd
        self._welcome = True
        self._patience: asyncio.TimerHandle | None = None
        self._in_head = True
        self._in_body = False
        self._head_bytes = 0
        self._lines: deque[DirectLine] = deque()  # one, but for clients that send the next request before the answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Let it in, if there is room."""
        super().connection_made(transport)
        self._welcome = self._crowd.enter(self._address)
        if not self._welcome and self._crowd.overrun:
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the call that is being served; uvicorn itself tells the request that came last, which may be another."""
        super().connection_lost(exc)
        self._crowd.leave(self._address)
        self._forget_head()
        for line in self._lines:
            line.lose()
        self._lines.clear()

    def data_received(self, data: bytes) -> None:
        """Count while the head is not complete; what came with its end is bounded by the size of one read."""
        if not self._welcome:  # said only now: an answer before the request would be lost with a reset
            self._turn_away(TooManyConnections("There are too many connections here.", retry_after_seconds=1))
            return
        if not self._in_body and b"pgrade:" in data:
            data = _deaf_to_upgrades(data)
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The head of the request is too long.")
            elif self._patience is None:
                self._expect_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete, and uvicorn has made a task of it that has not run yet."""
        self._in_head, self._in_body = False, True
        self._forget_head()
        super().on_headers_complete()
        line = DirectLine(self.cycle)
        self.cycle.scope["state"]["line"] = line
        while self._lines and not self._lines[0].is_open:  # they end in the order in which they came
            self._lines.popleft()
        self._lines.append(line)

    def on_message_complete(self) -> None:
        """The next bytes begin another head."""
        self._in_body = False
        super().on_message_complete()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _expect_head(self) -> None:
        self._patience = self.loop.call_later(self._crowd.head_seconds, self._lose_patience)

    def _forget_head(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self._head_bytes:
            self._turn_away(RequestTimedOut("The head of the request took too long."))
        else:
            self.transport.close()

    def _turn_away(self, error: GatewayError) -> None:
        """Answer without a call, in OpenAI's words as these are the commonest, and close."""
        if self.transport.is_closing():
            return
        told = errors.told(error)
        body = OPENAI.body(told, "")
        headers = [*errors.headers_of(error), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[told.status] + head + b"\r\n" + body)
        self.transport.close()


class DirectLine:
    """The `Line` of `gateway/http/exchange.py`: what ASGI says in messages, said to uvicorn's cycle directly.

    Head and first piece of an answer leave in one packet, a body that is there already is taken without waiting, and
    that the client has left is a call and not a message that a task of its own would have to wait for.
    """

    __slots__ = ("_cycle", "_head", "_on_loss", "_whole")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._on_loss: Callable[[], None] | None = None
        self._head = b""
        self._whole = True

    def body(self) -> bytes | None:
        """All of the request's body; None if it has not come yet, or if nobody waits for an answer."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected:
            return None
        cycle.flow.resume_reading()  # a long body has stopped it, and without it no end of the connection is seen
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    def watch(self, on_loss: Callable[[], None]) -> None:
        """Call `on_loss` once when the connection is lost before the answer is complete; at once if it is already."""
        if self._cycle.disconnected:
            on_loss()
        else:
            self._on_loss = on_loss

    def release(self) -> None:
        """Watch no more."""
        self._on_loss = None

    @property
    def is_open(self) -> bool:
        """Whether the answer is not complete."""
        return not self._cycle.response_complete

    def lose(self) -> None:
        """The connection is gone."""
        if not self.is_open:
            return
        self._cycle.disconnected = True
        if self._on_loss is not None:
            on_loss, self._on_loss = self._on_loss, None
            on_loss()

    def start(self, status: int, headers: Headers) -> None:
        """Keep the head until something follows it.

        Raises:
            ValueError: a header would break the head; nothing was sent.
        """
        cycle = self._cycle
        lines = [*map(_line, cycle.default_headers), *map(_line, headers)]
        if not cycle.keep_alive:
            lines.append(b"connection: close")
        head = STATUS_LINE[status] + b"\r\n".join(lines)
        # Each line but the last has one line break that is ours; any CR, LF or NUL beyond those came with a name or a value.
        if len(head.translate(None, b"\r\n\0")) != len(head) - 2 * len(lines):
            raise ValueError("a header of an answer holds CR, LF or NUL")
        self._whole = b"\r\ncontent-length: " in head
        self._head = head + (b"\r\n\r\n" if self._whole else b"\r\ntransfer-encoding: chunked\r\n\r\n")

    def send(self, piece: bytes) -> bool:
        """Send a piece of the body, after the head if that is still here; whether the next may follow at once."""
        cycle = self._cycle
        if cycle.disconnected:
            return True
        cycle.transport.write(self._packet(piece, b""))
        return not cycle.flow.write_paused

    async def ready(self) -> None:
        """Wait while the client reads too slowly; what is sent then leaves at once."""
        if self._cycle.flow.write_paused:
            await self._cycle.flow.drain()

    def finish(self, piece: bytes) -> None:
        """Send the last piece of the body: the answer is complete."""
        cycle = self._cycle
        if cycle.disconnected:
            return
        cycle.transport.write(self._packet(piece, b"0\r\n\r\n"))
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def _packet(self, piece: bytes, end: bytes) -> bytes:
        """A piece as it goes over the connection, after the head if that is still here; `end` is the one of a body in chunks."""
        cycle = self._cycle
        if cycle.scope["method"] == "HEAD":
            packet = b""
        elif self._whole:
            packet = piece
        elif piece:
            packet = b"%x\r\n%b\r\n%b" % (len(piece), piece, end)
        else:
            packet = end
        if self._head:
            packet, self._head = self._head + packet, b""
            cycle.response_started, cycle.waiting_for_100_continue = True, False
        return packet


def _deaf_to_upgrades(data: bytes) -> bytes:
    """Give the header another name (RFC 9110, 7.8: a server may ignore it); what follows the head stays as it is."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-ignored-upgrade:", head) + end + rest
