"""Tiny child processes that stand for engines. Each calls the test when it lives; its call ends when it dies, however that is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gateway import LaunchPlan
from plugins.engine_supervisor.process import EngineProcess, EngineStatus

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
# A worker that outlives its parent and does not heed SIGTERM.
_WITH_WORKER = """
ready, told = os.pipe()
if os.fork() == 0:
    stubborn(); report('worker'); os.write(told, b'x'); wait()
os.read(ready, 1)
"""
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

    def plan(self, script: str, **environment: str) -> LaunchPlan:
        argv = (sys.executable, "-S", "-E", "-c", _PROLOGUE + script, str(self.port))
        return LaunchPlan(argv, environment, "http://127.0.0.1:1")

    def engine(
        self, script: str | LaunchPlan, *, stop_seconds: float = PATIENCE_SECONDS, name: str = "ref"
    ) -> EngineProcess:
        plan = self.plan(script) if isinstance(script, str) else script
        self.engines.append(EngineProcess(name, plan, self.folder, stop_seconds))
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
