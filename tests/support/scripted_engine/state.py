"""Counts what the fake engine saw and holds its gates; it writes to no connection."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic_ns

HISTORY = 64
# How a client that measures names itself anywhere in its request, so that its end can be told from another's.
CLIENT = re.compile(rb"\[\[client:(\d+)\]\]")
COUNTERS = (
    "seen",
    "finished",
    "aborted",
    "cut",
    "streams",
    "chunks",
    "probes",
    "violations",
    "connections_made",
    "abort_requests",
)
GAUGES = ("running", "waiting", "paused", "connections")


@dataclass(slots=True)
class SeenCall:
    """One inference request as it came off the wire."""

    path: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def as_json(self) -> dict[str, object]:
        """Text form for the inspection API."""
        return {
            "path": self.path.decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "body": self.body.decode("utf-8", "replace"),
        }


@dataclass(slots=True)
class EngineState:
    """Everything a test can ask the engine about; plain integers, because the fast way raises them."""

    name: str
    running: int = 0
    waiting: int = 0
    paused: int = 0
    connections: int = 0
    seen: int = 0
    finished: int = 0
    aborted: int = 0
    cut: int = 0
    streams: int = 0
    chunks: int = 0
    probes: int = 0
    violations: int = 0
    connections_made: int = 0
    abort_requests: int = 0
    health_status: int = 200
    history: deque[SeenCall] = field(default_factory=lambda: deque(maxlen=HISTORY))
    # Faults for the next calls whatever they say, so that one replica of two can fail on a request both see.
    script: deque[str] = field(default_factory=deque)
    fault_for_all: str = ""
    gates: dict[str, list[asyncio.Future[None]]] = field(default_factory=dict)
    # When the connection of which named client was seen closed before the call's end, by the monotonic clock.
    aborts: dict[int, int] = field(default_factory=dict)
    watchers: list[tuple[Callable[[], bool], asyncio.Future[bool]]] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """The answer of GET /_scripted/state."""
        return {
            "name": self.name,
            **{key: getattr(self, key) for key in GAUGES + COUNTERS},
            "health_status": self.health_status,
            "scripted": list(self.script),
            "fault_for_all": self.fault_for_all,
            "gates": {name: len(futures) for name, futures in self.gates.items()},
            "last": self.history[-1].as_json() if self.history else None,
        }

    def note_abort(self, body: bytes) -> None:
        """Keep the moment for whoever named itself; nobody else pays but by one search."""
        now = monotonic_ns()
        found = CLIENT.search(body)
        if found is not None:
            self.aborts[int(found[1])] = now

    def changed(self) -> None:
        """Wake those whose condition came true; callers skip this when nobody watches."""
        for holds, future in list(self.watchers):
            if not future.done() and holds():
                future.set_result(True)

    async def until(self, holds: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait for a condition on the counts; False when it did not come true in time."""
        if holds():
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        watcher = (holds, future)
        self.watchers.append(watcher)
        try:
            return await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            return False
        finally:
            self.watchers.remove(watcher)

    async def gate(self, name: str) -> None:
        """Hold the caller until a test opens this gate."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.setdefault(name, []).append(future)
        self.waiting += 1
        self.changed()
        try:
            await future
        finally:
            self.waiting -= 1
            held = self.gates.get(name, [])
            if future in held:
                held.remove(future)
            self.changed()

    def release(self, name: str | None) -> int:
        """Open one gate, or all of them, for those who wait now; later callers wait again."""
        names = list(self.gates) if name is None else [name]
        opened = 0
        for each in names:
            for future in self.gates.pop(each, []):
                if not future.done():
                    future.set_result(None)
                    opened += 1
        return opened

    def reset(self) -> None:
        """Forget the past; gauges stay true, and whoever waits at a gate goes on."""
        self.release(None)
        for key in COUNTERS:
            setattr(self, key, 0)
        self.history.clear()
        self.aborts.clear()
        self.script.clear()
        self.fault_for_all = ""
        self.health_status = 200
        self.changed()
