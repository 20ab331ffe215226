"""Ends engines by what is written of them: SIGTERM, then SIGKILL for their own process group, and for nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable

from plugins.engine_supervisor import keeper
from plugins.engine_supervisor.records import Identity, Record

# What a keeper may take beyond the time that it gives the engine.
MARGIN_SECONDS = 10.0


class CannotStop(Exception):
    """The engine runs on; the message is a clause for people."""


async def stop_recorded(record: Record, stop_seconds: float) -> None:
    """Stop an engine that another process has started, by what is written of it: SIGTERM, then SIGKILL, for its group.

    Raises:
        CannotStop: it is another user's, or the kernel does not let go of it.
    """
    if not record.alive:
        return
    # If its keeper is gone, nobody else knows the workers that the engine may leave behind.
    group = [record.engine, *_workers(record.engine)]
    _signal(record.keeper if record.keeper.alive else record.engine, signal.SIGTERM)
    await _over([record.keeper, record.engine], stop_seconds + MARGIN_SECONDS)
    for process in (record.keeper, *group):
        _signal(process, signal.SIGKILL)
    if not await _over([record.keeper, *group], MARGIN_SECONDS):
        raise CannotStop("was killed and does not end")


def end_group(engine: Identity) -> None:
    """Kill what is left of an engine that was ours a moment ago, unless its number is another's by now."""
    if keeper.start_of(engine.pid) in (None, engine.started):
        keeper.signal_group(engine.pid, signal.SIGKILL)


def _workers(engine: Identity) -> list[Identity]:
    """The other processes of its group; none if it is over, for then the group's number may be another's."""
    pids = keeper.members(engine.pid) if engine.alive else []
    return [Identity(pid, started) for pid in pids if (started := keeper.start_of(pid)) is not None]


async def _over(processes: Iterable[Identity], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            for process in processes:
                await process.ended()
    except TimeoutError:
        return False
    return True


def _signal(process: Identity, number: signal.Signals) -> None:
    if not process.alive:
        return
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise CannotStop("belongs to another user") from error
