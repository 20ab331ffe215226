"""Runs one fault script against one call; the scripts are in fault_streams and fault_transport, not here."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from tests.support.scripted_engine.answers import (
    END,
    SSE_TYPE,
    Dialect,
    Peek,
    Prebuilt,
    error_body,
    flat_error_body,
    head,
    http_chunk,
    json_response,
)
from tests.support.scripted_engine.protocol import EngineProtocol

FaultScript = Callable[["FaultCall"], Awaitable[None]]
FAULTS: dict[str, FaultScript] = {}


def fault(script: FaultScript) -> FaultScript:
    """Register a script under its function's name; the docstring's first line is what the list shows."""
    FAULTS[getattr(script, "__name__", "")] = script
    return script


class FaultCall:
    """What a script may do to the call it was chosen for."""

    def __init__(self, protocol: EngineProtocol, prebuilt: Prebuilt, peek: Peek, options: dict[str, str]) -> None:
        """Bind the connection; the script starts right after."""
        self.protocol = protocol
        self.prebuilt = prebuilt
        self.peek = peek
        self.options = options
        self.writable = asyncio.Event()
        self.writable.set()
        self.task: asyncio.Task[None]

    # -- what the request asked for -------------------------------------------------------------------------------

    @property
    def stream(self) -> bool:
        """True when the client asked for a stream."""
        return self.peek.stream

    @property
    def dialect(self) -> Dialect:
        """Chat or plain completion."""
        return self.prebuilt.dialect

    def number(self, option: str, default: int) -> int:
        """A numeric option of the marker."""
        return int(self.options.get(option, default))

    def events(self, peek: Peek | None = None) -> list[bytes]:
        """All events of the healthy stream."""
        return self.dialect.events(peek or self.peek, self.protocol.engine.default_chunks)

    # -- what it sends --------------------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        """Bytes straight onto the socket."""
        self.protocol.transport.write(data)

    def open(self, content_type: bytes = SSE_TYPE, extra: bytes = b"") -> None:
        """The head of a chunked 200."""
        self.raw(head(200, content_type, None, extra))

    async def send(self, payload: bytes) -> None:
        """One piece of a chunked body, waiting while the client does not read."""
        await self.writable.wait()
        self.raw(http_chunk(payload))

    def close_body(self) -> None:
        """The end of a chunked body."""
        self.raw(END)

    def answer(self, status: int, body: bytes, extra: bytes = b"") -> None:
        """A whole JSON response."""
        self.raw(json_response(status, body, extra))

    def error(self, status: int, message: str, kind: str, *, flat: bool = False, extra: bytes = b"") -> None:
        """A whole error in vLLM's or SGLang's shape."""
        build = flat_error_body if flat else error_body
        self.answer(status, build(status, message, kind), extra)

    async def healthy(self) -> None:
        """The answer the call would have got without the fault."""
        if not self.stream:
            self.raw(self.prebuilt.whole)
            return
        self.open()
        for event in self.events():
            await self.send(event)
        self.close_body()

    # -- when and whether it goes on ------------------------------------------------------------------------------

    async def gate(self) -> None:
        """Hold until the test opens the gate named in the marker."""
        await self.protocol.engine.state.gate(self.options.get("gate", "default"))

    async def packet_pause(self) -> None:
        """Let the bytes before leave as a packet of their own; the kernel may still merge them for a slow reader."""
        await asyncio.sleep(self.number("pause_ms", 0) / 1000)

    def cut(self, *, reset: bool = False) -> None:
        """Close the socket in the middle: after a flush, or with a TCP reset."""
        self.protocol.end_call("cut")
        if not reset:
            self.protocol.transport.close()
            return
        raw_socket = self.protocol.transport.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.protocol.transport.abort()

    # -- Running --------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """The client left."""
        self.task.cancel()

    def resume(self) -> None:
        """The client reads again."""
        self.writable.set()

    async def run(self, script: FaultScript) -> None:
        """The script, then the end of the call unless the script cut it."""
        if self.protocol.paused:
            self.writable.clear()
        await script(self)
        if self.protocol.call is self:
            self.protocol.end_call()


def start_fault(protocol: EngineProtocol, prebuilt: Prebuilt, peek: Peek, text: str) -> None:
    """Start the script that a marker or the control API named, for example `slow,after=2,gate=a`."""
    name, *pairs = text.split(",")
    script = FAULTS.get(name)
    if script is None:
        protocol.refuse(400, f"unknown fault {name!r}; known: {', '.join(sorted(FAULTS))}", "UnknownFault")
        return
    options = dict(pair.split("=", 1) for pair in pairs)
    if peek.stream:
        protocol.engine.state.streams += 1
    call = FaultCall(protocol, prebuilt, peek, options)
    protocol.start_call(call)
    call.task = protocol.engine.loop.create_task(call.run(script))
