"""What commands get as their context's `obj`: the way to what a configuration builds, or to a gateway that runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from gateway.app import Application
from gateway.contracts.plugin import OpenConfiguration
from gateway.errors import ClientError, GatewayError

ASK_SECONDS = 30.0


class _Error(Struct):
    message: str


class _Refusal(Struct):
    error: _Error


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
