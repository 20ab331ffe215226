"""The lab's gateway: kept like an engine that a command has started, so its log is bounded and only it is ever stopped."""

import asyncio
import os
import sys
from pathlib import Path

import httpx

from gateway import LaunchPlan
from plugins.engine_supervisor import keeping
from plugins.engine_supervisor.keeping import CannotStart, EngineFiles
from plugins.engine_supervisor.ports import is_free
from plugins.engine_supervisor.records import Record, Records
from plugins.engine_supervisor.stopping import CannotStop, stop_recorded

COMMAND = Path(sys.executable).parent / "moegate"
NAME = "gateway"
LOG_BYTES = 16 * 1024 * 1024
START_SECONDS = 120.0
# Its own grace for calls in flight is 30 s, and engines that it had to start itself take 15 more.
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.2


class LabError(Exception):
    """What stopped the lab, for a person to read."""


class LabGateway:
    """One gateway process and its folder."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "moegate.yaml"
        self._files = EngineFiles(folder, Records(folder), LOG_BYTES, STOP_SECONDS)

    @property
    def record(self) -> Record | None:
        """What is known of it, if it runs."""
        return next((record for record in self._files.records.alive() if record.name == NAME), None)

    async def start(self, port: int) -> tuple[Record, bool]:
        """Start it unless it runs, and wait until it can serve; also whether it was started now.

        Raises:
            LabError: it ended, or does not serve; with the end of its log.
        """
        record, started = self.record, False
        if record is None:
            record, started = await self._start(f"http://127.0.0.1:{port}"), True
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _serves(record.url):
                    if not record.alive:
                        raise LabError(f"the gateway ended; the end of {record.log}:\n{keeping.tail(record.log)}")
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise LabError(f"the gateway does not serve after {START_SECONDS:.0f} s; see {record.log}") from None
        return record, started

    async def stop(self) -> bool:
        """Stop it, and wait for its end; whether it ran.

        Raises:
            LabError: it does not end.
        """
        record = self.record
        if record is None:
            return False
        try:
            await stop_recorded(record, STOP_SECONDS)
        except CannotStop as error:
            raise LabError(f"the gateway {error}") from None
        return True

    async def _start(self, url: str) -> Record:
        if not is_free(url):
            raise LabError(f"something listens on {url} already; choose another port with PORT=, or stop that")
        argv = (str(COMMAND), "serve", "--config", str(self.config), "--port", url.rpartition(":")[2])
        # What is left out for engines is meant for a gateway.
        ours = {name: value for name, value in os.environ.items() if name.startswith("MOEGATE_")}
        try:
            return await asyncio.to_thread(keeping.start_detached, NAME, LaunchPlan(argv, ours, url), self._files)
        except CannotStart as error:
            raise LabError(f"the gateway {error}") from None


async def _serves(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
            return (await client.get(f"{url}/readyz")).is_success
    except httpx.HTTPError:
        return False
