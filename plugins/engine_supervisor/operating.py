"""Engines as commands handle them: brought up on their own, looked at, taken down; what another runs is left to it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway import LaunchedReplica, OpenConfiguration, ReplicaState
from gateway.errors import ConfigError
from plugins.engine_supervisor import keeping, ports
from plugins.engine_supervisor.keeping import CannotStart, Ending
from plugins.engine_supervisor.records import Owner, Record, digest_of
from plugins.engine_supervisor.status import Seen, Situation, of_record
from plugins.engine_supervisor.stopping import CannotStop, stop_recorded
from plugins.engine_supervisor.supervisor import EngineSupervisor

LOOK_SECONDS = 0.5
# A gateway starts an engine of its own anew after a pause of at most a minute.
RESTART_SECONDS = 90.0
TAIL_LINES = 12


class Operator:
    """Handles the engines of one configuration. `say` gets a line per change, for people."""

    def __init__(self, opened: OpenConfiguration, say: Callable[[str], None]) -> None:
        supervisor = opened.service("engine_supervisor")
        if not isinstance(supervisor, EngineSupervisor):
            raise ConfigError("the plugin engine_supervisor is not there")
        self._files = supervisor.files
        self._records = supervisor.files.records
        self._launched = {item.replica.name: item for item in opened.fleet.launched()}
        self._opened = opened
        self._say = say

    def chosen(self, names: Iterable[str]) -> list[LaunchedReplica]:
        """The launched replicas of these names; all of them if none is named.

        Raises:
            ConfigError: there is no such replica, or the gateway does not start it.
        """
        names = list(dict.fromkeys(names))
        unknown = [name for name in names if name not in self._launched]
        if unknown:
            known = ", ".join(self._launched) or "none"
            raise ConfigError(
                *(f"no replica {name!r} with `launch:` is configured; known: {known}" for name in unknown)
            )
        return [self._launched[name] for name in names or self._launched]

    def stoppable(self, names: Iterable[str]) -> list[str]:
        """These names, which may be of engines that run and are not configured any more; or all that are configured.

        Raises:
            ConfigError: nothing of that name is configured or runs.
        """
        names = list(dict.fromkeys(names))
        running = {record.name for record in self._records.alive()}
        self.chosen(name for name in names if name not in running)
        return names or list(self._launched)

    async def up(self, item: LaunchedReplica) -> bool:
        """Start an engine unless it runs, and wait until it serves; say whether it does."""
        try:
            record = await self._running(item)
        except (CannotStart, CannotStop) as error:
            self._tell(item.replica.name, str(error))
            return False
        return record is not None and await self._until_ready(item, record)

    async def down(self, name: str) -> bool:
        """Stop an engine, from whatever configuration it was started; say whether it is down."""
        records = [record for record in self._records.alive() if record.name == name]
        if not records:
            self._tell(name, "does not run")
        return all([await self._stop(record) for record in records])

    async def restart(self, item: LaunchedReplica) -> bool:
        """Stop an engine and start it; one that a gateway runs is stopped, and that gateway starts it again."""
        record = self._records.read(item.replica.name, item.plan.url)
        if record is None or not record.alive or not _in_other_hands(record):
            return await self.down(item.replica.name) and await self.up(item)
        name = item.replica.name
        try:
            await stop_recorded(record, self._files.stop_seconds)
            self._tell(name, f"stopped; the gateway that runs it (pid {record.owner_process.pid}) starts it again")
            async with asyncio.timeout(RESTART_SECONDS):
                await self._records.changed(record)
        except CannotStop as error:
            self._tell(name, str(error))
            return False
        except TimeoutError:
            self._tell(name, f"was not started again within {RESTART_SECONDS:g} s")
            return False
        return await self.up(item)

    async def look(self, item: LaunchedReplica) -> Seen:
        """How an engine is now."""
        record = self._records.read(item.replica.name, item.plan.url)
        situation, reason = await self._situation(item, record)
        return Seen(
            name=item.replica.name,
            model=item.replica.model,
            backend=item.replica.backend,
            weight_format=item.replica.checkpoint.weight_format,
            url=item.replica.url,
            state=situation,
            reason=reason,
            log=str(self._files.log(item.replica.name, item.plan.url)),
            **of_record(record),
        )

    def strays(self) -> list[Seen]:
        """Engines that run and that this configuration does not launch there; another one may."""
        configured = {(item.replica.name, item.plan.url) for item in self._launched.values()}
        return [
            Seen(name=record.name, url=record.url, state=Situation.STRAY, log=str(record.log), **of_record(record))
            for record in self._records.alive()
            if (record.name, record.url) not in configured
        ]

    async def _situation(self, item: LaunchedReplica, record: Record | None) -> tuple[Situation, str]:
        if record is None or not record.alive:
            if not ports.is_free(item.plan.url):
                return Situation.DOWN, keeping.who_holds_the_port(item.plan.url, self._records)
            if record is None:
                return Situation.DOWN, "was not started"
            return Situation.DOWN, f"{Ending(record.status)}" + (" when told to" if record.state == "stopped" else "")
        if record.digest != digest_of(item.plan):
            return Situation.OTHER, "runs with other settings than the configuration's"
        found = await self._opened.look(item.replica)
        if found.state is ReplicaState.READY:
            return Situation.READY, ""
        return Situation.LOADING, found.reason if found.state is ReplicaState.STARTING else ""

    async def _running(self, item: LaunchedReplica) -> Record | None:
        """See to it that the engine runs; None if it runs otherwise and is not ours to stop."""
        name, plan = item.replica.name, item.plan
        async with self._records.locked(name, plan.url):
            record = self._records.read(name, plan.url)
            if record is not None and record.alive:
                same, others = record.digest == digest_of(plan), _in_other_hands(record)
                if same and (others or record.owner is Owner.COMMAND):
                    self._tell(name, f"runs already, pid {record.engine.pid}, started by a {record.owner.value}")
                    return record
                if others:
                    self._tell(name, f"a gateway (pid {record.owner_process.pid}) runs it with other settings")
                    return None
                self._tell(name, "runs with other settings, and is stopped first")
                await stop_recorded(record, self._files.stop_seconds)
            if not ports.is_free(plan.url):
                raise CannotStart(keeping.who_holds_the_port(plan.url, self._records))
            record = await asyncio.to_thread(keeping.start_detached, name, plan, self._files)
        self._tell(name, f"started, pid {record.engine.pid}, log {_shown(record.log)}")
        return record

    async def _until_ready(self, item: LaunchedReplica, record: Record) -> bool:
        """Look until it serves. A gateway's engine that ends is started again by that gateway, so that is waited for."""
        began, shown = time.monotonic(), ""
        while time.monotonic() - began < item.ready_seconds:
            now = self._records.read(item.replica.name, item.plan.url)
            if now is None or now.engine != record.engine or not now.alive:
                if not _in_other_hands(record):
                    self._end_badly(item, record, f"{Ending(now.status if now is not None else None)}")
                    return False
                record = now or record
            situation, reason = await self._situation(item, now)
            if situation is Situation.READY:
                self._tell(item.replica.name, f"ready after {time.monotonic() - began:.0f} s")
                return True
            if (word := f"{situation.value}" + (f" ({reason})" if reason else "")) != shown:
                self._tell(item.replica.name, shown := word)
            await asyncio.sleep(LOOK_SECONDS)
        self._end_badly(item, record, f"is not ready after {item.ready_seconds:g} s")
        if not _in_other_hands(record):
            await self._stop(record)
        return False

    async def _stop(self, record: Record) -> bool:
        if _in_other_hands(record):
            pid = record.owner_process.pid
            self._tell(record.name, f"a gateway (pid {pid}) runs it, and stops it when it stops itself")
            return False
        try:
            async with self._records.locked(record.name, record.url):
                await stop_recorded(record, self._files.stop_seconds)
        except CannotStop as error:
            self._tell(record.name, str(error))
            return False
        self._tell(record.name, "stopped")
        return True

    def _end_badly(self, item: LaunchedReplica, record: Record, how: str) -> None:
        said = keeping.tail(record.log).rstrip("\n")
        lines = [f"{how}; log {_shown(record.log)}", *(f"  | {line}" for line in said.splitlines()[-TAIL_LINES:])]
        for line in lines:
            self._tell(item.replica.name, line)

    def _tell(self, name: str, text: str) -> None:
        self._say(f"{name}: {text}")


def _in_other_hands(record: Record) -> bool:
    """Whether a gateway that lives has started it: only that one stops it."""
    return record.owner is Owner.GATEWAY and record.owner_process.alive


def _shown(path: Path) -> str:
    """A path as it is from here, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)
