"""What is written down of running engines, so that commands and gateways find each other's; it starts and stops none.

One file an engine, `NAME@PORT.json` in the state folder, written by the engine's keeper. A pid alone says nothing, for it is
given to another process one day; together with the time of its start it names one process, so nothing else is ever
signalled. Whoever starts or stops an engine holds the lock beside the file meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from gateway import LaunchPlan
from plugins.engine_supervisor.keeper import start_of

LOOK_SECONDS = 0.25


class Identity(Struct, frozen=True):
    """One process, for ever."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        return start_of(self.pid) == self.started

    async def ended(self) -> None:
        """Return when it is over. It need not be a child of ours, so there is nothing to wait on but the clock."""
        await until(lambda: not self.alive)


class Owner(StrEnum):
    """Who started an engine, and so who may stop it."""

    GATEWAY = "gateway"
    COMMAND = "command"


class State(StrEnum):
    """What the keeper wrote last: an engine that ended did so by itself, one that was stopped was told to."""

    RUNNING = "running"
    ENDED = "ended"
    STOPPED = "stopped"


class Record(Struct, frozen=True, kw_only=True):
    """What is known of an engine that was started.

    Attributes:
        digest: of the plan that it was started by.
        owner_process: the gateway, or the command, which may be over long since.
        started_at, changed_at: Unix time.
        status: how it ended, as `subprocess` puts it: an exit status, or a signal's number below zero.
    """

    name: str
    digest: str
    url: str
    owner: Owner
    owner_process: Identity
    engine: Identity
    keeper: Identity
    log: Path
    state: State
    status: int | None
    started_at: float
    changed_at: float

    @property
    def alive(self) -> bool:
        """Whether the engine runs, or its keeper has still to clear up after it."""
        return self.engine.alive or self.keeper.alive


class Records:
    """The state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str, url: str) -> Path:
        """Where the record of an engine is."""
        return self.folder / f"{key_of(name, url)}.json"

    def read(self, name: str, url: str) -> Record | None:
        """The record of an engine; None if there is none that can be read."""
        return _read(self.file(name, url))

    def alive(self) -> list[Record]:
        """Every engine that runs, whatever configuration it was started from."""
        records = (_read(file) for file in sorted(self.folder.glob("*@*.json")))
        return [record for record in records if record is not None and record.alive]

    async def changed(self, record: Record) -> None:
        """Return when another engine has taken that one's place, or its record is gone."""
        await until(lambda: (now := self.read(record.name, record.url)) is None or now.engine != record.engine)

    @contextlib.asynccontextmanager
    async def locked(self, name: str, url: str) -> AsyncIterator[None]:
        """Be the only one to start or stop that engine, in this process and all others.

        Raises:
            OSError: the state folder cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / f"{key_of(name, url)}.lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            await until(lambda: _lock(descriptor))
            yield
        finally:
            os.close(descriptor)


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds. What other processes do tells nobody here, so it is looked for."""
    while not condition():  # noqa: ASYNC110 - as above
        await asyncio.sleep(LOOK_SECONDS)


def key_of(name: str, url: str) -> str:
    """What files of an engine are called. With its port: after a reload that changes it, both run for a while."""
    return f"{quote(name, safe='')}@{urlsplit(url).port}"


def digest_of(plan: LaunchPlan) -> str:
    """Equal for equal plans. A hash, because a plan's environment may hold secrets."""
    return hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()


def myself() -> Identity:
    """This process."""
    pid = os.getpid()
    return Identity(pid, start_of(pid) or "")


def _read(file: Path) -> Record | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Record, dec_hook=_path)
    except (OSError, msgspec.DecodeError):
        return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _path(wanted: type, value: object) -> object:
    return wanted(value)
