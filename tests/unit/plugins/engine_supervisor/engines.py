"""Tiny child processes that stand for engines. Each calls the test when it lives; its call ends when it dies, however that is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gateway import LaunchPlan
from plugins.engine_supervisor import records
from plugins.engine_supervisor.keeping import EngineFiles
from plugins.engine_supervisor.ports import Turn
from plugins.engine_supervisor.process import EngineProcess, EngineStatus
from plugins.engine_supervisor.records import Record, Records, State
from tests.support.gateway_process import free_port

PATIENCE_SECONDS = 30.0

# What every child knows: `report(WORD)` opens the call; `stubborn()` makes SIGTERM do nothing; `wait()` ends when the
# call does, so that no child outlives its test, whatever is wrong with what is tested.
_PROLOGUE = """
import os, signal, socket, sys
def report(word):
    global call
    call = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    call.sendall(f"{word} {os.getpid()}\\n".encode())
def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
def wait():
    call.recv(1)
    os._exit(0)
"""

WAITS = "report('lives'); wait()"
STUBBORN = "stubborn(); report('lives'); wait()"
EXITS = "print('its last words', flush=True); report('lives'); sys.exit(3)"
KILLED = "report('lives'); os.kill(os.getpid(), signal.SIGKILL)"
OBEYS = """
def stop(*_):
    call.sendall(b'stops in order\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
report('lives'); wait()
"""
OBEYS_IN_SILENCE = "print('still loading', flush=True)" + OBEYS.replace("'lives'", "'obeys'")
# A worker that outlives its parent and does not heed SIGTERM.
_WITH_WORKER = """
ready, told = os.pipe()
if os.fork() == 0:
    stubborn(); report('worker'); os.write(told, b'x'); wait()
os.read(ready, 1)
"""
# One that says, when it is told to stop, whether its parent was still there.
_WITH_OBEDIENT_WORKER = """
ready, told = os.pipe()
parent = os.getpid()
if os.fork() == 0:
    def stop(*_):
        call.sendall(f"told when orphaned: {os.getppid() != parent}\\n".encode())
        os._exit(0)
    signal.signal(signal.SIGTERM, stop)
    report('worker'); os.write(told, b'x'); wait()
os.read(ready, 1)
"""
PARENT_THAT_OBEYS = _WITH_OBEDIENT_WORKER + OBEYS
PARENT = _WITH_WORKER + WAITS
PARENT_THAT_EXITS = _WITH_WORKER + EXITS


class Life:
    """One process that called."""

    def __init__(self, word: str, pid: int, reader: asyncio.StreamReader) -> None:
        self.word, self.pid = word, pid
        self._reader = reader

    async def end(self) -> str:
        """Wait until it is dead; what it said meanwhile."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return (await self._reader.read()).decode()
            except ConnectionResetError:
                return ""


class Switchboard:
    """Takes the calls of all the children of a test, and closes their engines with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.engines: list[EngineProcess] = []
        self._calls: asyncio.Queue[Life] = asyncio.Queue()

    async def take(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        word, pid = (await reader.readline()).decode().split()
        await self._calls.put(Life(word, int(pid), reader))

    async def life(self) -> Life:
        """The next process that calls."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._calls.get()

    @property
    def quiet(self) -> bool:
        """Nobody has called who was not answered."""
        return self._calls.empty()

    def plan(self, script: str, port: int | None = None, **environment: str) -> LaunchPlan:
        argv = (sys.executable, "-S", "-E", "-c", _PROLOGUE + script, str(self.port))
        return LaunchPlan(argv, environment, f"http://127.0.0.1:{port or free_port()}")

    def files(self, *, stop_seconds: float = PATIENCE_SECONDS, log_bytes: int = 65_536) -> EngineFiles:
        return EngineFiles(self.folder, Records(self.folder / "state"), log_bytes, stop_seconds)

    def record(self, plan: LaunchPlan, name: str = "ref") -> Record:
        """What is written of an engine now."""
        record = self.files().records.read(name, plan.url)
        assert record is not None
        return record

    async def recorded(self, plan: LaunchPlan, state: State) -> Record:
        """Wait until that is written of an engine."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await records.until(lambda: self.record(plan).state is state)
        return self.record(plan)

    def log(self, plan: LaunchPlan, name: str = "ref") -> Path:
        return self.files().log(name, plan.url)

    def engine(
        self,
        script: str | LaunchPlan,
        *,
        stop_seconds: float = PATIENCE_SECONDS,
        log_bytes: int = 65_536,
        name: str = "ref",
        turn: Turn | None = None,
    ) -> EngineProcess:
        plan = self.plan(script) if isinstance(script, str) else script
        files = self.files(stop_seconds=stop_seconds, log_bytes=log_bytes)
        self.engines.append(EngineProcess(name, plan, files, turn or Turn()))
        return self.engines[-1]


@contextlib.asynccontextmanager
async def switchboard(folder: Path) -> AsyncIterator[Switchboard]:
    board = Switchboard(folder)
    writers: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await board.take(reader, writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    board.port = server.sockets[0].getsockname()[1]
    try:
        yield board
    finally:
        for engine in board.engines:
            await engine.aclose()
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def until(engine: EngineProcess, status: EngineStatus) -> str:
    """Wait for a status; its reason."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while engine.status is not status:
            await engine.wait_for_change()
    return engine.reason


def lines(logs: list[Any], event: str) -> list[dict[str, Any]]:
    """The captured log lines of one event."""
    return [line for line in logs if line["event"] == event]
