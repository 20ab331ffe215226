"""One engine of a gateway: started or found running, watched, restarted with growing pauses, and stopped with all it started."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from pathlib import Path

import structlog

from gateway import LaunchPlan
from plugins.engine_supervisor import keeping, ports
from plugins.engine_supervisor.keeping import CannotStart, Ending, EngineFiles, KeptEngine
from plugins.engine_supervisor.ports import Turn
from plugins.engine_supervisor.records import Owner, Record, State, digest_of
from plugins.engine_supervisor.stopping import CannotStop, stop_recorded

log = structlog.get_logger("moegate.engines")

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
# An engine that ran this long was well: its next crash starts with the short pause again.
WELL_SECONDS = 60.0

_WAITS = "the engine waits until the one before it has ended"
_NO_STATE = "could not be started: what is known of it cannot be read or written"


class EngineStatus(StrEnum):
    """Whether the process runs. Whether it can serve is the probe's to find out."""

    RUNNING = "running"
    DOWN = "down"


class EngineProcess:
    """A process and the task that keeps it running.

    An engine of the same plan that a command or another gateway has started is followed as if it were ours, and left
    alone when we stop. When it ends by itself, ours takes its place.

    Attributes:
        status: whether it runs now.
        reason: one line for people; holds no path and no address.
        loading_since: when the engine began that has never been ready yet, on `time.monotonic`'s clock; else None.
    """

    def __init__(self, name: str, plan: LaunchPlan, files: EngineFiles, turn: Turn) -> None:
        self.status = EngineStatus.RUNNING
        self.reason = "starting"
        self.loading_since: float | None = None
        self._name = name
        self._plan = plan
        self._digest = digest_of(plan)
        self._files = files
        self._turn = turn
        self._kept: KeptEngine | None = None
        self._verdict: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Start the process and its watch; nothing happens if they run."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_running(), name=f"engine {self._name}")

    async def wait_for_change(self) -> None:
        """Return when `status` or `reason` changes."""
        await self._changed.wait()

    def give_up(self, seconds: float) -> None:
        """The engine has not got ready in that time: it is stopped, and started again like one that ended.

        One that somebody else has started is given its time, as it is not ours to stop.
        """
        self.loading_since = None
        self._verdict = f"did not get ready within {seconds:g} s"
        if self._kept is not None:
            self._kept.ask_to_stop()
            return
        log.error("engine does not get ready", engine=self._name, seconds=seconds, tail=self._tail())
        self._set(EngineStatus.RUNNING, f"the engine {self._verdict}, and still loads")

    async def aclose(self) -> None:
        """Stop the process if it is ours: SIGTERM, then SIGKILL for the whole group when it takes too long."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _set(self, status: EngineStatus, reason: str) -> None:
        self.status, self.reason = status, reason
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _keep_running(self) -> None:
        if self._turn.lock.locked():
            log.info("engine waits for the one before it on its port to end", engine=self._name)
            self._set(EngineStatus.DOWN, _WAITS)
        async with self._turn.lock:
            pause = FIRST_PAUSE_SECONDS
            while True:
                started, self._verdict = time.monotonic(), None
                try:
                    how = await self._run_once()
                except (CannotStart, CannotStop, OSError) as error:
                    how = str(error) if not isinstance(error, OSError) else _NO_STATE
                    url, program = self._plan.url, self._plan.argv[0]
                    log.error(
                        "engine cannot start", engine=self._name, why=how, url=url, program=program, again_seconds=pause
                    )
                else:
                    if how is None:
                        continue
                    if self._verdict is None and time.monotonic() - started > WELL_SECONDS:
                        pause = FIRST_PAUSE_SECONDS
                    log.error("engine ended", engine=self._name, how=how, again_seconds=pause, tail=self._tail())
                self.loading_since = None
                self._set(EngineStatus.DOWN, f"the engine {how}; it is started again in {pause:g} s")
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> str | None:
        """Run an engine to its end, or follow one that runs; say in words how it ended, or None if all is said."""
        async with self._files.records.locked(self._name, self._plan.url):
            found = await self._find()
            if found is None:
                self._kept = await keeping.start(self._name, self._plan, self._files)
        if found is not None:
            return await self._follow(found)
        return await self._attend(self._kept) if self._kept is not None else None

    async def _find(self) -> Record | None:
        """The engine, if somebody runs it already; if not, make sure that there is room for ours.

        Raises:
            CannotStart: what stands in the way is not ours to stop.
            CannotStop: it is, and does not end.
        """
        record = self._files.records.read(self._name, self._plan.url)
        if record is not None and record.alive:
            if record.owner is Owner.COMMAND or record.owner_process.alive:
                if record.digest == self._digest:
                    return record
                raise CannotStart(
                    f"runs with other settings, started by another {record.owner.value}; "
                    f"`moegate engines restart {self._name}` replaces it"
                )
            log.warning("engine of a gateway that is gone is stopped first", engine=self._name, pid=record.engine.pid)
            self._set(EngineStatus.DOWN, _WAITS)
            await stop_recorded(record, self._files.stop_seconds)
        if not ports.is_free(self._plan.url):
            raise CannotStart(keeping.who_holds_the_port(self._plan.url, self._files.records))
        return None

    async def _attend(self, kept: KeptEngine) -> str:
        log.info("engine started", engine=self._name, pid=kept.engine.pid, log=str(self._log_file))
        self._loads()
        try:
            ending = await kept.ended()
        except asyncio.CancelledError:
            await self._stop(kept)
            raise
        finally:
            self._kept = None
        return self._verdict or str(ending)

    async def _follow(self, record: Record) -> str | None:
        log.info("engine runs already", engine=self._name, pid=record.engine.pid, started_by=record.owner.value)
        self._loads()
        await record.engine.ended()
        await record.keeper.ended()
        now = self._files.records.read(self._name, self._plan.url)
        if now is None or now.engine != record.engine:
            return None  # another has taken its place already
        if now.state is State.STOPPED and now.owner is Owner.COMMAND:
            log.warning("engine was stopped by a command; it is not started until one starts it", engine=self._name)
            self.loading_since = None
            self._set(EngineStatus.DOWN, "the engine was stopped by a command, and waits for one to start it")
            await self._files.records.changed(now)
            return None
        return str(Ending(now.status) if now.status is not None else Ending())

    def _loads(self) -> None:
        self.loading_since = time.monotonic()
        self._set(EngineStatus.RUNNING, "the engine is loading")

    async def _stop(self, kept: KeptEngine) -> None:
        ending = await kept.stop()
        if ending.killed:
            log.warning("engine did not stop, it was killed", engine=self._name)
        log.info("engine stopped", engine=self._name)

    @property
    def _log_file(self) -> Path:
        return self._files.log(self._name, self._plan.url)

    def _tail(self) -> str:
        return keeping.tail(self._log_file)
