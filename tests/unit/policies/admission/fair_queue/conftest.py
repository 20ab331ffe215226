"""These tests run on a virtual clock: a call that waits for its deadline waits no time at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.unit.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": VirtualTimeLoop}
