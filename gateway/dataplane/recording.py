"""Hands finished calls to the recorders from a bounded queue, so that no recorder can slow a call or fill the memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from gateway.contracts.call import Call, Decision, Outcome
from gateway.contracts.plugin import Recorder

log = structlog.get_logger("moegate.recording")

QUEUE_LENGTH = 10_000


class Recording:
    """The queue and its one reader.

    Attributes:
        dropped: records that were lost because the recorders were too slow.
        failed: times that a recorder crashed.
    """

    def __init__(self, recorders: Sequence[tuple[str, Recorder]]) -> None:
        self._recorders = tuple(recorders)
        self._queue: asyncio.Queue[tuple[Call, Outcome, Decision]] = asyncio.Queue(QUEUE_LENGTH)
        self.dropped = 0
        self.failed = 0

    def put(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Take one finished call; never waits."""
        if not self._recorders:
            return
        try:
            self._queue.put_nowait((call, outcome, decision))
        except asyncio.QueueFull:
            self.dropped += 1
            if self.dropped % QUEUE_LENGTH == 1:
                log.error("recorders are too slow, records are lost", dropped=self.dropped)

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            call, outcome, decision = await self._queue.get()
            try:
                await self._record(call, outcome, decision)
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until all that was put is recorded, but no longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            log.error("records are lost: the recorders did not finish in time", left=self._queue.qsize())

    async def _record(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        for name, recorder in self._recorders:
            try:
                await recorder.record(call, outcome, decision)
            except Exception:
                self.failed += 1
                log.exception("recorder failed", recorder=name, call_id=call.call_id)
