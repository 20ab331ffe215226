"""Speaks HTTP/1.1 on one connection and answers the fast way itself; faults and control live elsewhere."""

import asyncio
import re
from typing import TYPE_CHECKING, Protocol, cast

import httptools
import msgspec

from tests.support.scripted_engine.answers import Peek, Prebuilt
from tests.support.scripted_engine.asked import Operation
from tests.support.scripted_engine.calls import DelayedAnswer, PacedStream
from tests.support.scripted_engine.dialects.dialect import Dialect
from tests.support.scripted_engine.dialects.judging import Refusal
from tests.support.scripted_engine.state import EngineState, SeenCall
from tests.support.scripted_engine.wire import json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MARKER = b"[[fault:"
MARKER_PATTERN = re.compile(rb"\[\[fault:([a-z0-9_]+(?:,[a-z_]+=[A-Za-z0-9_.-]+)*)\]\]")
decode_peek = msgspec.json.Decoder(Peek).decode


class Running(Protocol):
    """A call that has not ended yet; `rid` is what its request asked to be called, if anything."""

    rid: str

    @property
    def stream(self) -> bool:
        """It is answered in pieces."""

    def abort(self) -> None:
        """The client closed before the end."""

    def resume(self) -> None:
        """The client reads again."""


class Engine:
    """What all connections of one engine share."""

    __slots__ = (
        "answer_delay",
        "answers",
        "default_chunks",
        "dialect",
        "first_chunk_delay",
        "interval",
        "lifelike",
        "loop",
        "model",
        "operations",
        "orphans",
        "other",
        "protocols",
        "script",
        "state",
    )

    def __init__(
        self, state: EngineState, model: str, dialect: Dialect, answers: "Mapping[Operation, Prebuilt]"
    ) -> None:
        """Hold the prebuilt answers; the two doors out of the fast way are set by the server."""
        self.state = state
        self.model = model
        self.dialect = dialect
        self.operations = dialect.paths()
        self.answers = answers
        self.lifelike = False
        # Calls that go on though their client has left, by their rid.
        self.orphans: dict[str, Running] = {}
        self.loop = asyncio.get_running_loop()
        self.default_chunks = 16
        self.interval = 0.0
        self.first_chunk_delay = 0.0
        self.answer_delay = 0.0
        self.protocols: set[EngineProtocol] = set()
        self.script: Callable[[EngineProtocol, Operation, str], None]
        self.other: Callable[[EngineProtocol, str, bytes, bytes], None]


class EngineProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = ("body", "call", "counted", "engine", "headers", "parser", "paused", "transport", "url")
    transport: asyncio.Transport

    def __init__(self, engine: Engine, *, counted: bool = True) -> None:
        """Wait for a connection; those of the control port are not counted as a gateway's."""
        self.engine = engine
        self.counted = counted
        self.parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self.call: Running | None = None
        self.paused = False
        self.url = b""
        self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []

    # -- asyncio --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; every connection is counted."""
        # A cast, because uvloop's transports are no subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        if not self.counted:
            return
        state = self.engine.state
        state.connections += 1
        state.connections_made += 1
        self.engine.protocols.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """A close while a call runs is what an engine sees as an abort."""
        state = self.engine.state
        if self.counted:
            state.connections -= 1
            self.engine.protocols.discard(self)
        self.parser = None  # breaks the cycle parser -> protocol -> parser
        if self.paused:
            state.paused -= 1
            self.paused = False
        if self.call is not None and self.call.rid and self.engine.dialect.deaf and not self.call.stream:
            self.engine.orphans[self.call.rid] = self.call
            self.call = None
        elif self.call is not None:
            state.note_abort(self.body)
            self.call.abort()
            self.end_call("aborted")
        elif state.watchers:
            state.changed()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; bytes that are not HTTP are counted and end the connection."""
        if self.parser is None:
            return
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.violation("Invalid HTTP request received.")

    def pause_writing(self) -> None:
        """The client does not read: hold the stream, as an engine's awaited send does."""
        self.paused = True
        self.engine.state.paused += 1
        if self.engine.state.watchers:
            self.engine.state.changed()

    def resume_writing(self) -> None:
        """The client reads again."""
        if not self.paused:
            return
        self.paused = False
        self.engine.state.paused -= 1
        if self.call is not None:
            self.call.resume()

    # -- httptools ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start anew; a request while another one runs is pipelining, which no gateway should do to an engine."""
        if self.call is not None:
            self.violation("pipelined")
        self.url = b""
        self.body = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header as it was sent."""
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self.body = self.body + body if self.body else body

    def on_message_complete(self) -> None:
        """Answer."""
        engine = self.engine
        operation = engine.operations.get(self.url)
        if operation is None or self.parser is None or self.call is not None:
            if self.parser is not None and self.call is None:
                engine.other(self, self.parser.get_method().decode("latin-1"), self.url, self.body)
            return
        state = engine.state
        state.seen += 1
        body = self.body
        state.history.append(SeenCall(self.url, self.headers, body))
        try:
            peek = decode_peek(body)
        except msgspec.DecodeError as error:
            self.refuse(operation, Refusal(400, str(error)))
            return
        fault = ""
        if MARKER in body or state.script or state.fault_for_all:
            fault = self.chosen_fault(body)
        prebuilt = engine.answers.get(operation)
        if fault or prebuilt is None:
            engine.script(self, operation, fault)
        elif peek.model != engine.model and operation in engine.dialect.judge.checks_model:
            missing = Refusal(404, f"The model `{peek.model}` does not exist.", "NotFoundError", "model")
            self.refuse(operation, missing)
        elif peek.stream:
            state.streams += 1
            self.start_call(PacedStream(self, prebuilt, peek))
        elif engine.answer_delay:
            self.start_call(DelayedAnswer(self, prebuilt.whole, engine.answer_delay))
        else:
            self.transport.write(prebuilt.whole)
            self.count_finished()

    # -- for the calls on this connection -------------------------------------------------------------------------

    def chosen_fault(self, body: bytes) -> str:
        """A fault the test queued for this engine, else the one the request itself asks for."""
        state = self.engine.state
        if state.script:
            return state.script.popleft()
        if state.fault_for_all:
            return state.fault_for_all
        found = MARKER_PATTERN.search(body)
        if found is None:
            return ""
        fault = found.group(1).decode("ascii")
        only = re.search(r",only=([^,]+)", fault)
        return "" if only is not None and only.group(1) != state.name else fault

    def start_call(self, call: Running) -> None:
        """Count a call that takes time."""
        self.call = call
        self.engine.state.running += 1
        if self.engine.state.watchers:
            self.engine.state.changed()

    def end_call(self, counter: str = "finished") -> None:
        """Count its end, once."""
        if self.call is None:
            return
        self.call = None
        state = self.engine.state
        state.running -= 1
        setattr(state, counter, getattr(state, counter) + 1)
        if state.watchers:
            state.changed()

    def count_finished(self) -> None:
        """Count an answer that took no time."""
        self.engine.state.finished += 1
        if self.engine.state.watchers:
            self.engine.state.changed()

    def refuse(self, operation: Operation, refusal: Refusal) -> None:
        """Answer with an error of the dialect's."""
        self.transport.write(json_response(refusal.status, self.engine.dialect.error(operation, refusal)))
        self.count_finished()

    def violation(self, message: str) -> None:
        """The gateway broke HTTP or pipelined: say so and hang up."""
        self.engine.state.violations += 1
        self.parser = None
        body = self.engine.dialect.error(Operation.CHAT, Refusal(400, message))
        self.transport.write(json_response(400, body, b"connection: close\r\n"))
        self.transport.close()
