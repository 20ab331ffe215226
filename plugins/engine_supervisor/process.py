"""One engine process: started, watched, restarted with growing pauses, and stopped with everything that it started."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from enum import StrEnum
from pathlib import Path

import structlog

from gateway import LaunchPlan

log = structlog.get_logger("moegate.engines")

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
# An engine that ran this long was well: its next crash starts with the short pause again.
WELL_SECONDS = 60.0
TAIL_BYTES = 2_000
MAX_LOG_BYTES = 16 * 1024 * 1024

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class EngineStatus(StrEnum):
    """Whether the process runs. Whether it can serve is the probe's to find out."""

    RUNNING = "running"
    DOWN = "down"


class EngineProcess:
    """A process and the task that keeps it running.

    Attributes:
        status: whether it runs now.
        reason: one line for people; holds no path.
    """

    def __init__(self, name: str, plan: LaunchPlan, log_folder: Path, stop_seconds: float) -> None:
        self.status = EngineStatus.RUNNING
        self.reason = "starting"
        self._name = name
        self._plan = plan
        self._log_file = log_folder / f"{name.replace('/', '_')}.log"
        self._stop_seconds = stop_seconds
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Start the process and its watch; nothing happens if they run."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_running(), name=f"engine {self._name}")

    async def wait_for_change(self) -> None:
        """Return when `status` changes."""
        await self._changed.wait()

    async def aclose(self) -> None:
        """Stop the process: SIGTERM, then SIGKILL for the whole group when it takes too long."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _set(self, status: EngineStatus, reason: str) -> None:
        self.status, self.reason = status, reason
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _keep_running(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            ended = await self._run_once()
            if time.monotonic() - started > WELL_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.error("engine ended", engine=self._name, how=ended, restart_seconds=pause, tail=self._tail())
            self._set(EngineStatus.DOWN, f"the engine {ended}; it is started again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> str:
        """Run the process to its end; say in words how it ended."""
        try:
            process = await self._spawn()
        except OSError as error:
            return f"could not be started ({os.strerror(error.errno or 0)})"
        log.info("engine started", engine=self._name, pid=process.pid, log=str(self._log_file))
        self._set(EngineStatus.RUNNING, "the engine is loading")
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            await self._stop(process)
            raise
        _signal_group(process.pid, signal.SIGKILL)  # workers that outlived their parent hold memory and port
        return f"exited with status {status}" if status >= 0 else f"was ended by signal {-status}"

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        if self._log_file.exists() and self._log_file.stat().st_size > MAX_LOG_BYTES:
            self._log_file.replace(self._log_file.with_suffix(".log.1"))
        with self._log_file.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *self._plan.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self._plan.environment},
                start_new_session=True,  # Ctrl-C is for us; we stop the engine in our own time
                preexec_fn=_die_with_parent,
            )

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        _signal_group(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(self._stop_seconds):
                await process.wait()
        except TimeoutError:
            log.warning("engine does not stop, it is killed", engine=self._name)
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        log.info("engine stopped", engine=self._name)

    def _tail(self) -> str:
        """The last lines of the engine's output, for the log of whoever runs the gateway."""
        try:
            with self._log_file.open("rb") as stream:
                stream.seek(max(0, self._log_file.stat().st_size - TAIL_BYTES))
                return stream.read(TAIL_BYTES).decode(errors="replace")
        except OSError:
            return ""


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _die_with_parent() -> None:
    """Runs in the child: a gateway that is killed outright must not leave an engine behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
