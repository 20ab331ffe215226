"""The plugin's one instance: the journal on a call's way, the door when there is no room, the service, the admin routes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import BuildContext, Call, Decision, Metric, Outcome
from gateway.errors import ConfigError, GatewayError
from plugins.ledger.frames import encode_frame
from plugins.ledger.metrics import metrics_of
from plugins.ledger.retention import retain
from plugins.ledger.routes import handlers
from plugins.ledger.row import encode_row, row_of
from plugins.ledger.settings import LedgerSettings
from plugins.ledger.shipping import Shipper
from plugins.ledger.store import OUTAGES, CallStore
from plugins.ledger.writer import JournalWriter

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

log = structlog.get_logger("moegate.ledger")

TICK_SECONDS = 1.0
ADOPT_SECONDS = 10.0
RETAIN_SECONDS = 3_600.0
MOST_PAUSE_SECONDS = 30.0
RETRY_AFTER_SECONDS = 5.0

Sleep = Callable[[float], Awaitable[None]]


class LedgerFull(GatewayError):
    """There is no room to write a call down, and the configuration wants none served that is not."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "ledger_full"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message


class SharedJournal:
    """What outlives a reload that leaves the settings as they are.

    Where they change, the next runtime writes another journal, and takes this one over like that of a dead process.
    """

    def __init__(self, settings: LedgerSettings, clock: Callable[[], float] = time.time) -> None:
        self.writer = JournalWriter(settings, clock=clock)
        self.shipper = Shipper(settings.path, self.writer, most=settings.batch_rows, clock=clock)

    async def aclose(self) -> None:
        """Let go of the files."""
        self.writer.close()


class Ledger:
    """Journal, call transform, service and routes.

    Args:
        clock: seconds since 1970.
        sleep: how the service waits.
    """

    def __init__(
        self,
        settings: LedgerSettings,
        journal: SharedJournal,
        engine: AsyncEngine,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.writer = journal.writer
        self.shipper = journal.shipper
        self.engine = engine
        self.clock = clock
        self._settings = settings
        self._store = CallStore(engine)
        self._sleep = sleep

    def append(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Write a call down."""
        if outcome.error_code == LedgerFull.code and self.writer.refusing:
            self.writer.count_refused()
            return
        self.writer.append(encode_frame(encode_row(row_of(call, outcome, decision.arm, self.clock))))

    async def transform(self, call: Call) -> Call:
        """Let a call pass, unchanged, if there is room to write it down.

        Raises:
            LedgerFull: there is none.
        """
        if self.writer.refusing:
            raise LedgerFull(
                "The gateway cannot keep account of calls now, so it takes none.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        return call

    async def run(self) -> None:
        """Ship, look after the disk, remove what is old; at the end ship what there is, but not for long."""
        self.writer.open()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look_after_disk())
                tasks.create_task(self._ship())
                tasks.create_task(self._retain())
        finally:
            await self._finish()

    async def _look_after_disk(self) -> None:
        while True:
            self.writer.tick()
            if self._settings.fsync == "never":
                self.writer.syncing.close(sync=False)
            else:
                await asyncio.to_thread(self.writer.syncing.sync)
            await self._sleep(self._settings.fsync_seconds if self._settings.fsync == "interval" else TICK_SECONDS)

    async def _ship(self) -> None:
        pause, since_adoption, down = self._settings.ship_seconds, ADOPT_SECONDS, False
        while True:
            try:
                await self.shipper.ship_own(self._store)
                if since_adoption >= ADOPT_SECONDS:
                    await self.shipper.ship_others(self._store)
                    since_adoption = 0.0
                if down:
                    log.warning("the ledger's database is back")
                pause, down = self._settings.ship_seconds, False
            except OUTAGES as error:
                if not down:
                    log.error("the ledger's database does not take calls; they wait", reason=type(error).__name__)
                pause, down = min(pause * 2, MOST_PAUSE_SECONDS), True
            await self._sleep(pause)
            since_adoption += pause

    async def _retain(self) -> None:
        while True:
            try:
                removed = await retain(self.engine, self._settings, int(self.clock() * 1_000))
                if removed:
                    log.info("removed old rows from the ledger", rows=removed)
            except OUTAGES as error:
                log.warning("old rows of the ledger stay for now", reason=type(error).__name__)
            await self._sleep(RETAIN_SECONDS)

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(self._settings.stop_seconds):
                await self.shipper.ship_own(self._store)
        except OUTAGES as error:
            log.warning("the journal stays for the next start", reason=type(error).__name__)

    def metrics(self) -> list[Metric]:
        """How it is."""
        return metrics_of(self.writer, self.shipper)

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """The admin routes."""
        return handlers(self)


def build(settings: LedgerSettings, context: BuildContext) -> Ledger:
    """Put the instance together; nothing is written before the first call, or the service's start.

    Raises:
        ConfigError: the journal's folder cannot be, or its bounds make no sense.
    """
    if settings.max_bytes < 2 * settings.segment_bytes:
        raise ConfigError("max_bytes must be at least twice segment_bytes")
    there = next(path for path in (settings.path.absolute(), *settings.path.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigError(f"path: {settings.path} cannot be written")
    journal = context.shared(("ledger", repr(settings)), lambda: SharedJournal(settings))
    return Ledger(settings, journal, context.database.engine)
