"""The extension `decisions`: takes each call when it is over, and writes a share of them to the database now and then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import BuildContext, Call, Decision, Metric, Outcome
from gateway.contracts.metrics import counter, gauge
from plugins.decisions import store
from plugins.decisions.recent import Recent
from plugins.decisions.record import encode, is_sampled, record_of
from plugins.decisions.routes import handlers
from plugins.decisions.settings import DecisionsSettings

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

log = structlog.get_logger("moegate.decisions")

WRITE_SECONDS = 5.0
RETAIN_SECONDS = 3_600.0
LAST_SECONDS = 2.0
ROWS_AT_ONCE = 500


class Decisions:
    """Recorder, service and routes in one.

    Args:
        engine: of the database; None where nothing is sampled.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        settings: DecisionsSettings,
        recent: Recent,
        engine: AsyncEngine | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.recent = recent
        self.engine = engine
        self._settings = settings
        self._clock = clock
        self._away = False
        recent.limit(settings.recent_calls, settings.recent_bytes)

    async def record(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Remember a call."""
        record = record_of(call, outcome, decision, self._clock())
        encoded = encode(record)
        self.recent.put(record.call_id, encoded)
        if self.engine is not None and is_sampled(record.call_id, self._settings.sample):
            self.recent.wait((record.call_id, record.received_at, record.model, encoded.decode()))

    async def find(self, call_id: str) -> bytes | None:
        """The record of a call as JSON, from memory or else from the database.

        Raises:
            one of store.OUTAGES: it is not in memory, and the database is not there.
        """
        found = self.recent.get(call_id)
        if found is not None or self.engine is None:
            return found
        kept = await store.find(self.engine, call_id)
        return kept.encode() if kept is not None else None

    async def run(self) -> None:
        """Write what waits, and remove what is old, until cancelled; then write what is left, if that is quick."""
        if self.engine is None:
            return
        retained = -RETAIN_SECONDS
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                await self.write()
                if self._settings.retention_days is not None and time.monotonic() - retained >= RETAIN_SECONDS:
                    retained = time.monotonic()
                    await self.retain()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.write()

    async def write(self) -> None:
        """Write what waits; a database that is away is tried again later."""
        waiting = self.recent.waiting
        while waiting and self.engine is not None:
            rows = [waiting.popleft() for _ in range(min(len(waiting), ROWS_AT_ONCE))]
            try:
                await store.write(self.engine, rows)
            except store.OUTAGES as error:
                waiting.extendleft(reversed(rows))
                self._note(error)
                return
            except BaseException:
                waiting.extendleft(reversed(rows))
                raise
            self.recent.written += len(rows)
            self._note(None)

    async def retain(self) -> None:
        """Remove what was kept long enough."""
        if self.engine is not None and self._settings.retention_days is not None:
            try:
                await store.retain(self.engine, self._settings.retention_days, self._clock())
            except store.OUTAGES as error:
                self._note(error)

    def metrics(self) -> Iterable[Metric]:
        """What is kept."""
        recent = self.recent
        yield gauge("moegate_decisions_recent", "Calls whose decision is in memory.", len(recent))
        yield gauge("moegate_decisions_recent_bytes", "What they take.", recent.bytes)
        yield gauge("moegate_decisions_waiting", "Sampled calls that the database has not yet.", len(recent.waiting))
        yield counter("moegate_decisions_written", "Sampled calls that went to the database.", recent.written)
        yield counter("moegate_decisions_lost", "Sampled calls that did not, as it was away too long.", recent.lost)

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """The admin route."""
        return handlers(self)

    def _note(self, error: BaseException | None) -> None:
        """Say once that the database is away, and once that it is back."""
        if error is not None and not self._away:
            log.warning("sampled decisions wait, the database is away", error=type(error).__name__)
        elif error is None and self._away:
            log.info("the database is back")
        self._away = error is not None


def build(settings: DecisionsSettings, context: BuildContext) -> Decisions:
    """Build it; what it remembers outlives a reload."""
    engine = context.database.engine if settings.sample else None
    return Decisions(settings, context.shared(("decisions",), Recent), engine)
