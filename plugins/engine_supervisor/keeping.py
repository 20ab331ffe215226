"""The other side of a keeper: gives it its order, hears how the engine fares, has it stopped; decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from gateway import LaunchPlan
from plugins.engine_supervisor import keeper, ports
from plugins.engine_supervisor.records import Identity, Owner, Record, Records, digest_of, key_of, myself
from plugins.engine_supervisor.stopping import MARGIN_SECONDS, end_group

REPORT_SECONDS = 30.0
TAIL_BYTES = 2_000
_PIPE = subprocess.PIPE


class CannotStart(Exception):
    """The engine was not started; the message is a clause for people, and holds no path and no address."""


class Order(Struct, frozen=True, kw_only=True):
    """What a keeper is told.

    Attributes:
        argv, environment: the engine's; the environment is added to the keeper's own.
        log_bytes: how long each of the two files of its log may be.
        stop_seconds: from SIGTERM to SIGKILL.
        lifeline: stop the engine when standard input ends; else go on alone, whoever ends.
        record: what the record says beside what the keeper knows itself.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    log: str
    log_bytes: int
    stop_seconds: float
    lifeline: bool
    record: dict[str, object]
    record_file: str


class Ending(Struct, frozen=True):
    """How an engine ended; no status if its keeper was killed and nobody knows."""

    status: int | None = None
    killed: bool = False

    def __str__(self) -> str:
        if self.status is None:
            return "was lost with its keeper"
        return f"exited with status {self.status}" if self.status >= 0 else f"was ended by signal {-self.status}"


class EngineFiles(Struct, frozen=True):
    """Where the traces of engines are, and how long an engine may take to stop.

    Attributes:
        log_bytes: per file; there are two.
    """

    log_folder: Path
    records: Records
    log_bytes: int
    stop_seconds: float

    def log(self, name: str, url: str) -> Path:
        """An engine's log; the file before it has `.1` added."""
        return (self.log_folder / f"{key_of(name, url)}.log").absolute()


class KeptEngine:
    """An engine whose keeper is a child of ours."""

    def __init__(self, process: asyncio.subprocess.Process, engine: Identity, stop_seconds: float) -> None:
        self.engine = engine
        self._process = process
        self._stop_seconds = stop_seconds

    def ask_to_stop(self) -> None:
        """Have the keeper stop it: SIGTERM, and SIGKILL for all that is left of it after `stop_seconds`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def ended(self) -> Ending:
        """Wait for its end."""
        line = await _line(self._process)
        await self._process.wait()
        if not line:  # the keeper was killed
            end_group(self.engine)
        return msgspec.json.decode(line, type=Ending) if line else Ending()

    async def stop(self) -> Ending:
        """Stop it, and wait for its end."""
        self.ask_to_stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stop_seconds + MARGIN_SECONDS):
                return await self.ended()
        end_group(self.engine)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MARGIN_SECONDS):
                await self.ended()
        return Ending(killed=True)


async def start(name: str, plan: LaunchPlan, files: EngineFiles) -> KeptEngine:
    """Start an engine that ends with this process.

    Raises:
        CannotStart: there is nothing to run, or it may not be run.
    """
    try:
        with _log(name, plan, files) as log:
            process = await asyncio.create_subprocess_exec(
                *_program(name),
                env=_environment(),
                stdin=_PIPE,
                stdout=_PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop the engine in our own time
            )
    except OSError as error:
        raise CannotStart(f"could not be started: {os.strerror(error.errno or 0)}") from error
    try:
        if process.stdin is not None:
            process.stdin.write(_order(name, plan, files, Owner.GATEWAY))
        async with asyncio.timeout(REPORT_SECONDS):
            engine = _reported(await _line(process))
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()  # and the keeper stops what it may have started
        await asyncio.shield(process.wait())
        if isinstance(error, TimeoutError):
            raise CannotStart("could not be started: its keeper does not answer") from error
        raise
    return KeptEngine(process, engine, files.stop_seconds)


def start_detached(name: str, plan: LaunchPlan, files: EngineFiles) -> Record:
    """Start an engine that goes on without us. Takes a tenth of a second, and blocks so long.

    Raises:
        CannotStart: as above; or it could not be written down, so that nobody would find it again.
    """
    try:
        with _log(name, plan, files) as log:
            # The keeper puts itself into the background, so the process that we wait for here is not the one that stays.
            done = subprocess.Popen(  # noqa: S603 - our own interpreter and our own program
                _program(name), env=_environment(), stdin=_PIPE, stdout=_PIPE, stderr=log, start_new_session=True
            )
    except OSError as error:
        raise CannotStart(f"could not be started: {os.strerror(error.errno or 0)}") from error
    with done:
        report = b""
        if done.stdin is not None and done.stdout is not None:
            done.stdin.write(_order(name, plan, files, Owner.COMMAND))
            done.stdin.close()
            report = done.stdout.readline()
    engine = _reported(report)
    record = files.records.read(name, plan.url)
    if record is None or record.engine != engine:
        end_group(engine)
        raise CannotStart("could not be started: the state folder cannot be written to")
    return record


def _log(name: str, plan: LaunchPlan, files: EngineFiles) -> IO[bytes]:
    """The engine's log, where a keeper that crashes says why."""
    files.records.folder.mkdir(parents=True, exist_ok=True)
    files.log_folder.mkdir(parents=True, exist_ok=True)
    return files.log(name, plan.url).open("ab")


def _program(name: str) -> list[str]:
    return [sys.executable, "-I", "-S", keeper.__file__, name]


def _environment() -> dict[str, str]:
    """Ours, less what is the gateway's own: keys of its callers, for example, are no business of an engine."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MOEGATE_")}


async def _line(process: asyncio.subprocess.Process) -> bytes:
    return await process.stdout.readline() if process.stdout is not None else b""


def _reported(line: bytes) -> Identity:
    if not line:
        raise CannotStart("could not be started: its keeper failed, and the engine's log says why")
    report = msgspec.json.decode(line)
    if "error" in report:
        raise CannotStart(f"could not be started ({report['error']})")
    return msgspec.convert(report, Identity)


def _order(name: str, plan: LaunchPlan, files: EngineFiles, owner: Owner) -> bytes:
    order = Order(
        argv=plan.argv,
        environment=dict(plan.environment),
        log=str(files.log(name, plan.url)),
        log_bytes=files.log_bytes,
        stop_seconds=files.stop_seconds,
        lifeline=owner is Owner.GATEWAY,
        record={
            "name": name,
            "digest": digest_of(plan),
            "url": plan.url,
            "owner": owner,
            "owner_process": myself(),
        },
        record_file=str(files.records.file(name, plan.url).absolute()),
    )
    return msgspec.json.encode(order) + b"\n"


def who_holds_the_port(url: str, records: Records) -> str:
    """Why an engine cannot listen where it should, in a clause."""
    for record in records.alive():
        if ports.place_of(record.url) == ports.place_of(url):
            return f"cannot listen: its port is in use by the engine {record.name!r}"
    return "cannot listen: its port is in use by another program"


def tail(log: Path) -> str:
    """What an engine said last since it was started, for the log of whoever runs it; never for a client."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = stream.read(TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""
    _, marked, said = text.rpartition(keeper.START_MARK)
    return said.partition("\n")[2] if marked else text
