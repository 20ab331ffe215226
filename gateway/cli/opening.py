"""What commands get as their context's `obj`: the way from a configuration file to what it builds; it starts nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.app import Application
from gateway.contracts.plugin import OpenConfiguration


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
