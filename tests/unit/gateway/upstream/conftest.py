"""Every asynchronous test of the upstream client runs on both event loops, and must leave no connection behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from gateway.upstream import ConnectionPool
from tests.unit.gateway.upstream.calls import checked_pool


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def pool() -> AsyncIterator[ConnectionPool]:
    async with checked_pool() as pool:
        yield pool
