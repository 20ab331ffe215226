"""Looks at the fleet while calls wait, because a replica that gets ready, or recovers, has slots to give."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from gateway import Fleet

# States change with a call; how many slots a replica that recovers may use grows with time, and nobody tells of that.
LOOK_SECONDS = 0.25


class Waiting(Protocol):
    """What is told of changes."""

    def dispatch(self) -> None:
        """Give out the slots that are free."""


class Watch:
    """One task for all that wait; there is none while nobody does."""

    def __init__(self) -> None:
        self._waiting: dict[Waiting, None] = {}
        self._fleet: Fleet | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether anybody waits."""
        return self._task is not None

    def begin(self, waiting: Waiting, fleet: Fleet) -> None:
        """Tell this one of changes. After a reload the fleet is another, and it is the new one that hears of changes."""
        self._waiting[waiting] = None
        if fleet is not self._fleet:
            self._stop()
            self._fleet = fleet
        if self._task is None:
            self._task = asyncio.create_task(self._look(fleet), name="fair_queue")

    def end(self, waiting: Waiting) -> None:
        """Tell it no more."""
        self._waiting.pop(waiting, None)
        if not self._waiting:
            self._stop()

    async def aclose(self) -> None:
        """The last runtime is gone, and its calls with it."""
        self._waiting.clear()
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._fleet = None

    async def _look(self, fleet: Fleet) -> None:
        while True:
            for waiting in tuple(self._waiting):
                waiting.dispatch()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await fleet.wait_for_change()
