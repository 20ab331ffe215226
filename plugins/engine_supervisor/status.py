"""What `moegate engines status` shows of an engine, and how much memory a group of processes holds."""

from __future__ import annotations

import resource
from enum import StrEnum
from pathlib import Path
from typing import Any

from msgspec import Struct

from plugins.engine_supervisor.records import Record

PAGE_BYTES = resource.getpagesize()
# Fields of /proc/PID/stat after the program's name: the process group, and pages of resident memory.
_GROUP, _RESIDENT = 2, 21


class Situation(StrEnum):
    """How an engine is, seen from the configuration."""

    READY = "ready"
    LOADING = "loading"
    OTHER = "other settings"
    STRAY = "not configured"
    DOWN = "down"


class Seen(Struct, frozen=True, kw_only=True):
    """One engine, as `--json` prints it; what is not known of one that is down is null.

    Attributes:
        reason: one line for people: why it is not ready.
        started_by: `command`, or `gateway`; that one's pid is `starter_pid`, and it may be over.
        started_at: Unix time.
        memory_bytes: resident, all processes of the engine's group together; what they share is counted for each.
    """

    name: str
    model: str | None = None
    backend: str | None = None
    weight_format: str | None = None
    url: str
    state: Situation
    reason: str = ""
    log: str
    pid: int | None = None
    started_by: str | None = None
    starter_pid: int | None = None
    started_at: float | None = None
    memory_bytes: int | None = None


def of_record(record: Record | None) -> dict[str, Any]:
    """What a record adds to `Seen` of an engine that runs."""
    if record is None or not record.alive:
        return {}
    return {
        "pid": record.engine.pid,
        "started_by": record.owner.value,
        "starter_pid": record.owner_process.pid,
        "started_at": record.started_at,
        "memory_bytes": memory_of(record.engine.pid),
    }


def memory_of(group: int) -> int:
    """Resident bytes of a process group."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[_GROUP]) == group:
            pages += int(fields[_RESIDENT])
    return pages * PAGE_BYTES
