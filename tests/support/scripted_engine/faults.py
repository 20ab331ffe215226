"""Runs one script against one call; the scripts are in the fault_ files, not here."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import msgspec

from tests.support.scripted_engine import lifelike
from tests.support.scripted_engine.answers import WHOLE, content_count
from tests.support.scripted_engine.asked import Asked, Operation, read
from tests.support.scripted_engine.dialects.dialect import Dialect, Said
from tests.support.scripted_engine.dialects.judging import Refusal
from tests.support.scripted_engine.dialects.shape import Shape
from tests.support.scripted_engine.protocol import EngineProtocol
from tests.support.scripted_engine.turns import Turn, canned
from tests.support.scripted_engine.wire import END, SSE_TYPE, head, http_chunk, json_response

FaultScript = Callable[["FaultCall"], Awaitable[None]]
FAULTS: dict[str, FaultScript] = {}
NOTHING = "healthy"


def fault(script: FaultScript) -> FaultScript:
    """Register a script under its function's name; the docstring's first line is what the list shows."""
    FAULTS[getattr(script, "__name__", "")] = script
    return script


@dataclass(frozen=True, slots=True)
class Reply:
    """What a healthy engine would say to a request, and how."""

    shape: Shape
    asked: Asked
    turn: Turn


class FaultCall:
    """What a script may do to the call it was chosen for."""

    def __init__(self, protocol: EngineProtocol, reply: Reply, options: dict[str, str]) -> None:
        """Bind the connection; the script starts right after."""
        self.protocol = protocol
        self.reply = reply
        self.options = options
        self.rid = str(reply.asked.body.get("rid", ""))
        self.writable = asyncio.Event()
        self.writable.set()
        self.task: asyncio.Task[None]

    # -- what the request asked for -------------------------------------------------------------------------------

    @property
    def stream(self) -> bool:
        """True when the client asked for a stream."""
        return self.reply.asked.stream

    @property
    def dialect(self) -> Dialect:
        """The engine's."""
        return self.protocol.engine.dialect

    @property
    def turn(self) -> Turn:
        """What a healthy engine would say."""
        return self.reply.turn

    def number(self, option: str, default: int) -> int:
        """A numeric option of the marker."""
        return int(self.options.get(option, default))

    def events(self, turn: Turn | None = None, *, counted: bool = True) -> list[bytes]:
        """All events of the stream, or of a stream that says something else; without usage if not counted."""
        asked = self.reply.asked if counted else replace(self.reply.asked, wants_usage=False)
        return self.reply.shape.events(turn or self.turn, asked)

    def beginning(self) -> list[bytes]:
        """The events up to option after= pieces of text (1)."""
        return self.events()[: self.number("after", 1) + self.reply.shape.opening]

    async def begin(self) -> int:
        """Send these; then wait at option gate=, if there is one, so that they are not read together with what follows."""
        events = self.beginning()
        await self.send(*events)
        if "gate" in self.options:
            await self.gate()
        return len(events)

    def whole(self, turn: Turn | None = None) -> bytes:
        """The body of the plain answer, or of one that says something else."""
        return self.reply.shape.whole(turn or self.turn, self.reply.asked)

    # -- what it sends --------------------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        """Bytes straight onto the socket."""
        self.protocol.transport.write(data)

    def open(self, content_type: bytes = SSE_TYPE, extra: bytes = b"") -> None:
        """The head of a chunked 200."""
        self.raw(head(200, content_type, None, extra))

    async def send(self, *payloads: bytes) -> None:
        """Pieces of a chunked body, each waiting while the client does not read."""
        for payload in payloads:
            await self.writable.wait()
            self.raw(http_chunk(payload))

    def close_body(self) -> None:
        """The end of a chunked body."""
        self.raw(END)

    def answer(self, status: int, body: bytes, extra: bytes = b"") -> None:
        """A whole JSON response."""
        self.raw(json_response(status, body, extra))

    def error(self, refusal: Refusal, extra: bytes = b"") -> None:
        """A whole error in the engine's own shape."""
        body = self.dialect.error(self.reply.asked.operation, refusal)
        self.answer(refusal.status, msgspec.json.encode(body), extra)

    def error_events(self, refusal: Refusal) -> list[bytes]:
        """An error inside a stream."""
        return self.dialect.error_events(self.reply.asked.operation, refusal)

    def said(self, said: Said, extra: bytes = b"") -> None:
        """A whole answer that is none of these."""
        say(self.protocol, said, extra)

    async def say(self, turn: Turn) -> None:
        """Another answer than the healthy one, else in good order."""
        if not self.stream:
            self.answer(200, self.whole(turn))
            return
        self.open()
        await self.send(*self.events(turn))
        self.close_body()

    async def healthy(self) -> None:
        """The answer the call would have got without the fault."""
        await self.say(self.turn)

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


def say(protocol: EngineProtocol, said: Said, extra: bytes = b"") -> None:
    """Write a whole answer at once."""
    if said.events is None:
        protocol.transport.write(json_response(said.status, said.body, extra))
        return
    body = b"".join(map(http_chunk, said.events))
    protocol.transport.write(head(200, SSE_TYPE, None, extra) + body + END)


def start_script(protocol: EngineProtocol, operation: Operation, text: str) -> None:
    """Answer a call by a script: the fault that was named, for example `slow,after=2,gate=a`, or none."""
    engine = protocol.engine
    asked = read(operation, msgspec.json.decode(protocol.body))
    judge, refusal = engine.dialect.judge, None
    name, *pairs = (text or NOTHING).split(",")
    if engine.lifelike:
        refusal = judge.refusal(asked, engine.model)
    elif not text:
        refusal = judge.of_model(asked, engine.model)
    if refusal is not None:
        say(protocol, engine.dialect.refused(asked, refusal))
        protocol.count_finished()
        return
    script = FAULTS.get(name)
    if script is None:
        message = f"unknown fault {name!r}; known: {', '.join(sorted(FAULTS))}"
        protocol.refuse(operation, Refusal(400, message, "UnknownFault"))
        return
    count = engine.dialect.counts.get(operation)
    if count is not None:
        protocol.transport.write(json_response(200, count(max(1, asked.words))))
        protocol.count_finished()
        return
    if asked.stream:
        engine.state.streams += 1
    if engine.lifelike:
        turn = lifelike.answer(asked if engine.dialect.constrains else replace(asked, schema=None))
    else:
        turn = _canned(asked, engine.default_chunks)
    reply = Reply(engine.dialect.shapes[operation], asked, turn)
    call = FaultCall(protocol, reply, dict(pair.split("=", 1) for pair in pairs))
    protocol.start_call(call)
    call.task = engine.loop.create_task(call.run(script))


def _canned(asked: Asked, default_chunks: int) -> Turn:
    return canned(*content_count(asked.limit, default_chunks)) if asked.stream else WHOLE
