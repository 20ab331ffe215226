"""Stand-ins for what a call meets, all without sockets: an engine's connections, a backend, a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from gateway import Call, Capability, Launcher, Operation, Outcome, Probe, Replica, ReplicaState, UpstreamRequest, Usage
from gateway.dataplane import sse
from gateway.errors import (
    GatewayError,
    UpstreamBroken,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)
from gateway.upstream import HeaderBlock, Headers, Origin, Timeouts, encode_headers

EVENT_STREAM = ((b"content-type", b"text/event-stream"),)
JSON = ((b"content-type", b"application/json"),)
NO_HEADERS = encode_headers(())

Piece = bytes | BaseException | asyncio.Event
"""What a body is made of: bytes that come, an error instead of more, or a gate to wait at."""


class FakeResponse:
    """An engine's answer with the methods of `UpstreamResponse`."""

    def __init__(self, status: int = 200, headers: Headers = JSON, pieces: Sequence[Piece] = ()) -> None:
        self.status = status
        self.headers = headers
        self.closed = 0
        self.waits: list[float | None] = []
        self.limits: list[float] = []
        self._pieces = list(pieces)

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)

    def end_within(self, seconds: float) -> None:
        self.limits.append(seconds)

    async def read_chunk(self, within_seconds: float | None = None) -> bytes:
        if self.closed:
            raise RuntimeError("the response is closed")
        self.waits.append(within_seconds)
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, asyncio.Event):
                try:
                    async with asyncio.timeout(within_seconds):
                        await piece.wait()
                except TimeoutError:
                    raise UpstreamTimeout("no first event") from None
            elif isinstance(piece, BaseException):
                raise piece
            elif piece:
                return piece
        return b""

    async def pass_on(self, sink: Callable[[bytes], bool], within_seconds: float | None = None) -> bool:
        while chunk := await self.read_chunk(within_seconds):
            if not sink(chunk):
                return True
        return False

    async def read(self, limit_bytes: int | None = None) -> bytes:
        chunks = []
        while chunk := await self.read_chunk():
            chunks.append(chunk)
        whole = b"".join(chunks)
        if limit_bytes is not None and len(whole) > limit_bytes:
            raise UpstreamBroken(f"the response body is longer than {limit_bytes} bytes")
        return whole

    def close(self) -> None:
        self.closed += 1

    @property
    def unread(self) -> int:
        """How many pieces nobody has asked for."""
        return len(self._pieces)


class Sent:
    """A request as an engine would get it."""

    def __init__(self, origin: Origin, target: bytes, headers: Headers, prepared: HeaderBlock, body: bytes) -> None:
        self.host = origin.host
        self.target = target
        self.headers = tuple(headers)
        self.prepared = prepared
        self.body = body


class FakeConnections:
    """The methods of `ConnectionPool`; answers come from `replies`, in order, the last one again and again."""

    def __init__(self, *replies: FakeResponse | BaseException | asyncio.Event) -> None:
        self.sent: list[Sent] = []
        self.closed = False
        self._replies = list(replies)

    def script(self, *replies: FakeResponse | BaseException | asyncio.Event) -> None:
        self._replies = list(replies)

    async def send(
        self,
        origin: Origin,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        timeouts: Timeouts,
        *,
        prepared: HeaderBlock = NO_HEADERS,
    ) -> FakeResponse:
        assert method == b"POST"
        self.sent.append(Sent(origin, target, headers, prepared, body))
        while isinstance(reply := self._replies.pop(0), asyncio.Event):
            await reply.wait()
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def aclose(self) -> None:
        self.closed = True


class FakeMeter:
    """Counts events; an event `data: late error` is an error, one without `[DONE]` at the end cut short."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.events = 0
        self.error: UpstreamError | None = None
        self.transforms: list[str] = []
        self.done = False

    def feed_events(self, events: bytes) -> bytes:
        visible = b""
        for event in sse.split(events):
            payload = sse.data(event)
            if payload == b"late error":
                self.error = UpstreamBroken("late error")
                return visible
            self.done |= payload == b"[DONE]"
            self.events += payload is not None
            visible += event
        return visible

    def end_events(self) -> UpstreamError | None:
        return None if self.done else UpstreamBroken("cut short")

    def read_body(self, body: bytes) -> bytes:
        self.usage = Usage(prompt_tokens=1, completion_tokens=len(body))
        if body == b"broken":
            self.error = UpstreamBroken("a broken body")
        return body


class FakeBackend:
    """A kind of engine with the simplest possible ways."""

    kind: ClassVar[str] = "fake"
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    launcher: ClassVar[Launcher | None] = None

    def __init__(
        self,
        operations: Iterable[Operation] = Operation,
        probes: Sequence[Probe | Exception] = (),
        *,
        must_be_told: bool = False,
    ) -> None:
        self.operations = frozenset(operations)
        self.must_be_told = must_be_told
        self.probed: list[str] = []
        self.probes = list(probes) or [Probe(ReplicaState.READY)]
        self._looked = asyncio.Event()

    async def wait_for_probes(self, count: int) -> None:
        """Return when it was looked at so many times."""
        while len(self.probed) < count:
            await self._looked.wait()

    def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
        return UpstreamRequest("/generate", ((b"x-attempt", attempt_id.encode()),), call.body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        if status == 503:
            return UpstreamOverloaded("full")
        return UpstreamRefused(body.decode(), engine_status=status)

    def read_first_event(self, event: bytes) -> UpstreamError | None:
        return UpstreamOverloaded("full") if sse.data(event) == b"full" else None

    def objection(self, call: Call, replica: Replica) -> str | None:
        return "this engine knows no `odd`" if "odd" in call.fields else None

    def abort(self, request: UpstreamRequest) -> UpstreamRequest | None:
        return UpstreamRequest("/abort", (), request.headers[0][1]) if self.must_be_told else None

    def new_meter(self, call: Call, request: UpstreamRequest) -> FakeMeter:
        return FakeMeter()

    async def probe(self, client: Any, replica: Replica) -> Probe:
        self.probed.append(replica.name)
        looked, self._looked = self._looked, asyncio.Event()
        looked.set()
        found = self.probes.pop(0) if len(self.probes) > 1 else self.probes[0]
        if isinstance(found, Exception):
            raise found
        return found


class FakeClient:
    """The client's side of a call, as `relay.Client` says."""

    def __init__(self, write_gate: asyncio.Event | None = None) -> None:
        self.started = False
        self.gone = False
        self.released = 0
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.added: list[tuple[bytes, bytes]] = []
        self.writes: list[bytes] = []
        self.complete = False
        self.failure: GatewayError | None = None
        self._write_gate = write_gate
        self._before_last: Callable[[], None] | None = None

    def before_last(self, hook: Callable[[], None]) -> None:
        self._before_last = hook

    def add_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.added += headers

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        self.status, self.headers = status, headers + self.added

    def send(self, piece: bytes) -> bool:
        if piece:
            self.writes.append(piece)
        return self._write_gate is None or self._write_gate.is_set()

    async def ready(self) -> None:
        if self._write_gate is not None:
            await self._write_gate.wait()

    async def finish(self, piece: bytes) -> None:
        await self.ready()
        if self._before_last is not None:
            self._before_last()
        self.send(piece)
        self.complete = True

    async def fail(self, error: GatewayError, outcome: Outcome) -> None:
        self.failure = error
        if not self.started:
            outcome.status = error.status

    def release(self) -> None:
        self.released += 1


class FakeCounter:
    """Every prompt has 100 tokens, and every event of an answer two."""

    def __init__(self) -> None:
        self.learnt: list[Outcome] = []

    def estimate(self, call: Call) -> int:
        return 100

    async def exact(self, call: Call) -> int | None:
        return 100

    def produced(self, call: Call, backend: str, events: int) -> int:
        return 2 * events

    def produced_unseen(self, call: Call, seconds: float) -> int:
        return round(10 * seconds)

    def typical_output(self, call: Call) -> int:
        return 50

    def learn(self, call: Call, outcome: Outcome) -> None:
        self.learnt.append(outcome)
