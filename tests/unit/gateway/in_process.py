"""A whole gateway in this process, asked over ASGI as its server would: its engines are fakes, and there is no socket anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

from gateway import config_file
from gateway.composition.runtime import Runtime, build_runtime
from gateway.http.edge import Edge
from gateway.registry import Registry
from gateway.shared import SharedObjects
from tests.unit.builders import BODY
from tests.unit.fakes import FakeBackend, FakeConnections
from tests.unit.gateway.plugin_modules import extension, plugin, registry_of

CHAT = "/v1/chat/completions"
STREAMED = BODY.replace(b"{", b'{"stream":true,', 1)


def fake_engines() -> ModuleType:
    """A plugin whose backend `fake` is always ready."""
    return plugin(moegate_backends=lambda: [extension("fake", FakeBackend())])


def replica(name: str, **changes: Any) -> dict[str, Any]:
    """A replica as the configuration writes it; its URL's host is its name, so that a test sees who was asked."""
    return {"name": name, "backend": "fake", "url": f"http://{name}", **changes}


def config(*names: str, replicas: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A configuration with one model, served for anybody by replicas of these names, `a` by default."""
    model = {
        "name": "kimi-k2",
        "aliases": ["kimi-latest"],
        "checkpoint": {"id": "moonshotai/Kimi-K2-Instruct", "context_length": 131_072},
        "replicas": replicas if replicas is not None else [replica(name) for name in names or ("a",)],
    }
    return {"server": {"anonymous": True}, "models": [model], **changes}


class FakeLine:
    """The server's side of one request, as `exchange.Line` says; it keeps what is sent as ASGI's messages."""

    def __init__(self, messages: list[dict[str, Any]], body: bytes | None, leaves: asyncio.Event | None) -> None:
        self._messages = messages
        self._body = body
        self._leaves = leaves
        self._leaving: asyncio.Task[None] | None = None

    def body(self) -> bytes | None:
        return self._body

    def watch(self, on_loss: Callable[[], None]) -> None:
        async def leave(leaves: asyncio.Event) -> None:
            await leaves.wait()
            on_loss()

        if self._leaves is not None:
            self._leaving = asyncio.create_task(leave(self._leaves))

    def release(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._messages.append({"type": "http.response.start", "status": status, "headers": headers})

    async def ready(self) -> None:
        pass

    def send(self, piece: bytes) -> bool:
        self._messages.append({"type": "http.response.body", "body": piece, "more_body": True})
        return True

    def finish(self, piece: bytes) -> None:
        self.release()
        self._messages.append({"type": "http.response.body", "body": piece, "more_body": False})


class Answer:
    """What an ASGI application sent."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        starts = [message for message in messages if message["type"] == "http.response.start"]
        self.started = bool(starts)
        self.status: int = starts[0]["status"] if starts else 0
        self.header_list: list[tuple[str, str]] = [
            (name.decode(), value.decode()) for name, value in (starts[0]["headers"] if starts else ())
        ]
        self.headers = dict(self.header_list)
        self.chunks: list[bytes] = [message["body"] for message in messages if message.get("body")]
        self.body = b"".join(self.chunks)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


async def ask(
    app: Any,
    path: str = CHAT,
    body: bytes = BODY,
    *,
    method: str = "POST",
    leaves: asyncio.Event | None = None,
    slowly: bool = False,
    **headers: str,
) -> Answer:
    """One request. The client stays to the end unless `leaves` is set; a header's `_` is a hyphen.

    `slowly`: the body does not come with the head, but message by message.
    """
    messages: list[dict[str, Any]] = []
    half = len(body) // 2
    incoming: list[dict[str, Any]] = [
        {"type": "http.request", "body": body[half:], "more_body": False},
        {"type": "http.request", "body": body[:half], "more_body": True},
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": None,
        "server": ("gateway", 80),
        "state": {"line": FakeLine(messages, None if slowly else body, leaves)},
    }

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    await app(scope, receive, send)
    return Answer(messages)


class Gateway:
    """A runtime at work."""

    def __init__(self, registry: Registry, connections: FakeConnections) -> None:
        self.registry = registry
        self.connections = connections
        self.shared = SharedObjects()
        self.shared.hold(("connections",), lambda: connections)
        self.edge: Edge
        self.runtime: Runtime

    async def build(self, settings: dict[str, Any]) -> Runtime:
        return await build_runtime(config_file.parse(json.dumps(settings), {}), self.registry, self.shared)

    async def start(self, settings: dict[str, Any]) -> None:
        self.runtime = await self.build(settings)
        self.runtime.start()
        self.edge = Edge(self.runtime)
        while self.runtime.fleet.not_ready():
            await self.runtime.fleet.wait_for_change()

    async def ask(self, path: str = CHAT, body: bytes = BODY, **options: Any) -> Answer:
        return await ask(self.edge, path, body, **options)

    @property
    def asked(self) -> list[str]:
        """Which replicas were asked."""
        return [sent.host for sent in self.connections.sent]

    @property
    def in_flight(self) -> int:
        return sum(replica.in_flight for replica in self.runtime.fleet.replicas())


@contextlib.asynccontextmanager
async def running(
    *plugins: ModuleType, settings: dict[str, Any] | None = None, replies: tuple[Any, ...] = ()
) -> AsyncIterator[Gateway]:
    """A gateway with these plugins beside the fake engines, which answer with `replies`."""
    gateway = Gateway(registry_of(fake_engines(), *plugins), FakeConnections(*replies))
    await gateway.start(settings or config())
    try:
        yield gateway
    finally:
        await gateway.runtime.stop()
