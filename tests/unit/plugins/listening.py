"""Runs a source of targets for a test: its pauses end when the test says so, and not by a clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gateway import Target, TargetSource
from gateway.contracts.targets import Found

PATIENCE_SECONDS = 30.0


class Listening:
    """The `TargetListener` of a source, and what the test sees of it.

    Attributes:
        told: every list, as it came.
    """

    def __init__(self, source: TargetSource) -> None:
        self.told: asyncio.Queue[Found] = asyncio.Queue()
        self._pauses: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Event()
        self._source = source
        self._task = asyncio.create_task(self._run())

    def found(self, targets: Found) -> None:
        self.told.put_nowait(targets)

    async def pause(self, seconds: float) -> None:
        self._pauses.put_nowait(seconds)
        await self._go.wait()
        self._go.clear()

    async def paused(self) -> float:
        """Wait until it pauses, once for each time; for how many seconds it wants to."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._pauses.get()

    def wake(self) -> None:
        """End the pause that it is in, or the next one."""
        self._go.set()

    async def targets(self) -> list[Target]:
        """The next list."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            told = asyncio.create_task(self.told.get())
            try:
                await asyncio.wait({told, self._task}, return_when=asyncio.FIRST_COMPLETED)
                if not told.done():
                    self._task.result()  # raises what the source raised
                found = await told
            finally:
                told.cancel()
        assert isinstance(found, list)
        return found

    async def urls(self) -> list[str]:
        """The URLs of the next list, sorted."""
        return sorted(target.url for target in await self.targets())

    async def failure(self) -> Exception:
        """What it fails with."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait({self._task})
        error = self._task.exception()
        assert isinstance(error, Exception)
        return error

    async def again(self) -> None:
        """Run it once more, as the gateway does after a failure."""
        await self.failure()
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Cancel it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await self._source.run(self)


@contextlib.asynccontextmanager
async def listening(source: TargetSource) -> AsyncIterator[Listening]:
    """A source that runs for the length of the block."""
    found = Listening(source)
    try:
        yield found
    finally:
        await found.end()
