"""Callers with whatever scopes they name, and a client for the admin routes of a gateway in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx

from gateway import Principal
from tests.unit.gateway.in_process import Gateway, config, replica, running
from tests.unit.gateway.plugin_modules import extension, plugin

READER = {"x-api-key": "inference admin:read"}
WRITER = {"x-api-key": "inference admin:read admin:write"}
CALLER = {"x-api-key": "inference"}


class Callers:
    """Knows callers by the scopes that they say they have."""

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        scopes = headers.get(b"x-api-key", b"").decode()
        return Principal("k", "key", "ops", scopes=frozenset(scopes.split())) if scopes else None


@asynccontextmanager
async def administered(
    *plugins: ModuleType,
    use: list[dict[str, Any]],
    names: tuple[str, ...] = ("a", "b"),
    replies: tuple[Any, ...] = (),
    **settings: Any,
) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    """A gateway with replicas of these names and these plugins, and a client of it."""
    callers = plugin(moegate_authenticators=lambda: [extension("callers", Callers())])
    whole = config(
        replicas=[replica(name) for name in names], plugins=[{"use": "callers"}, *use], server={}, **settings
    )
    async with running(callers, *plugins, settings=whole, replies=replies) as gateway:
        transport = httpx.ASGITransport(app=gateway.edge)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield gateway, client
