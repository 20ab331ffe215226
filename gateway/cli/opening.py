"""What commands get as their context's `obj`: the way to what a configuration builds, or to a gateway that runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import uvloop
from msgspec import Struct

from gateway.app import Application
from gateway.contracts.commands import OpenConfiguration
from gateway.errors import ClientError, ConfigError, GatewayError
from gateway.upstream import (
    ConnectionPool,
    HeaderBlock,
    Limits,
    Origin,
    Timeouts,
    UpstreamResponse,
    encode_headers,
)

T = TypeVar("T")

ASK_SECONDS = 30.0
CONNECT_SECONDS = 5.0


class _Error(Struct):
    message: str


class _Refusal(Struct):
    error: _Error


class PooledConnections:
    """The `Connections` of one URL and key."""

    def __init__(self, pool: ConnectionPool, origin: Origin, path: str, headers: HeaderBlock, seconds: float) -> None:
        self._pool = pool
        self._origin = origin
        self._path = path
        self._headers = headers
        self._timeouts = Timeouts(min(CONNECT_SECONDS, seconds), seconds, seconds)

    async def post(self, path: str, body: bytes) -> UpstreamResponse:
        """Send a JSON body; see `Connections.post`."""
        target = (self._path + path).encode()
        return await self._pool.send(self._origin, b"POST", target, (), body, self._timeouts, prepared=self._headers)


class Opener:
    """The `CommandContext` of this command line."""

    @contextlib.asynccontextmanager
    async def open(self, config: Path) -> AsyncIterator[OpenConfiguration]:
        """Build a configuration for the length of the block; see `CommandContext.open`."""
        runtime = await Application(config).build()
        try:
            yield runtime
        finally:
            await runtime.stop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what awaits to its end; see `CommandContext.run`."""
        return uvloop.run(work)

    @contextlib.asynccontextmanager
    async def connections(self, url: str, key: str, seconds: float, most: int) -> AsyncIterator[PooledConnections]:
        """Connections to a server; see `CommandContext.connections`."""
        try:
            origin, path = Origin.parse(url)
        except ValueError as error:
            raise ConfigError(f"{url}: {error}") from None
        headers = [(b"content-type", b"application/json")]
        try:
            block = encode_headers([*headers, (b"authorization", b"Bearer " + key.encode("ascii"))] if key else headers)
        except ValueError:
            raise ConfigError("the key holds characters that no header can carry") from None
        pool = ConnectionPool(Limits(max_idle_per_origin=most, max_connections_per_origin=most))
        try:
            yield PooledConnections(pool, origin, path, block, seconds)
        finally:
            await pool.aclose()

    def ask(self, url: str, key: str, method: str, path: str) -> Any:
        """Ask the admin API of a gateway that runs; see `CommandContext.ask`."""
        try:
            # trust_env off: a key must not go to a proxy that the environment names.
            answer = httpx.request(
                method,
                url.rstrip("/") + path,
                headers={"authorization": f"Bearer {key}"},
                timeout=ASK_SECONDS,
                trust_env=False,
            )
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise GatewayError(f"no gateway answers at {url} ({type(error).__name__})") from None
        try:
            if answer.is_success:
                return msgspec.json.decode(answer.content)
            refusal = msgspec.json.decode(answer.content, type=_Refusal)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise GatewayError(f"what answers at {url} is no gateway (status {answer.status_code})") from None
        raise ClientError(refusal.error.message)
