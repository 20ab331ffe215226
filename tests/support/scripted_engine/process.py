"""Starts the fake engine as a subprocess for tests and benches, and talks to its control door; it measures nothing."""

import asyncio
import http.client
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import msgspec

ROOT = Path(__file__).resolve().parents[3]
LOOPBACK = "127.0.0.1"
READY_SECONDS = 20.0
STOP_SECONDS = 5.0
Json = dict[str, Any]


@dataclass
class ScriptedEngine:
    """A running fake engine."""

    process: subprocess.Popen[bytes]
    name: str
    port: int
    control_port: int
    host: str = LOOPBACK
    more_ports: tuple[int, ...] = ()

    @property
    def more_urls(self) -> tuple[str, ...]:
        """The engine's further addresses, if it was started with `--more-ports`."""
        return tuple(f"http://{self.host}:{port}" for port in self.more_ports)

    @property
    def url(self) -> str:
        """Where a replica's `url` points: no `/v1` at the end."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """For CPU accounting."""
        return self.process.pid

    def state(self) -> Json:
        """All counts and the last call."""
        return cast("Json", self._ask("GET", "state"))

    def calls(self) -> list[Json]:
        """The latest calls, oldest first: path, headers and body as they came off the wire."""
        return cast("list[Json]", self._ask("GET", "calls"))

    def account(self) -> list[Json]:
        """What each call of a `--metered` engine took: id, prompt, produced, finished."""
        return cast("list[Json]", self._ask("GET", "account"))

    def aborts(self) -> dict[int, int]:
        """When (monotonic ns) which client's call was seen cut off; clients name themselves `[[client:7]]` in the prompt."""
        return {int(client): moment for client, moment in self._ask("GET", "aborts").items()}

    def last_json(self) -> Json:
        """The last call's body, decoded."""
        return cast("Json", msgspec.json.decode(self.state()["last"]["body"]))

    def wait(self, timeout_seconds: float = 5.0, **counts: int) -> Json:
        """Block until the counts are as asked (`running=0, seen__ge=3`); AssertionError with the state otherwise."""
        query = urlencode({"timeout_seconds": timeout_seconds, **counts})
        return cast("Json", self._ask("GET", f"wait?{query}", read_seconds=timeout_seconds + 10))

    async def until(self, timeout_seconds: float = 5.0, **counts: int) -> Json:
        """As `wait`, for tests that share their loop with what is tested."""
        return await asyncio.to_thread(self.wait, timeout_seconds, **counts)

    def release(self, gate: str | None = None) -> int:
        """Open one gate or all; how many calls went on."""
        return cast("int", self._ask("POST", "release", {"gate": gate})["released"])

    def reset(self) -> None:
        """Forget counts, history, queued faults and health; open every gate."""
        self._ask("POST", "reset")

    def next_calls(self, *faults: str) -> None:
        """Faults for the next calls whatever they say; an empty string is a healthy call."""
        self._ask("POST", "script", {"calls": list(faults)})

    def all_calls(self, fault: str) -> None:
        """One fault for every call until reset; an empty string ends it."""
        self._ask("POST", "script", {"fault_for_all": fault})

    def health(self, status: int) -> None:
        """What GET /health answers until reset."""
        self._ask("POST", "script", {"health_status": status})

    def listen(self, *, accept: bool, drop: bool = False) -> None:
        """Refuse new connections or take them again; `drop` resets those that are open."""
        self._ask("POST", "listen", {"accept": accept, "drop": drop})

    def kill(self) -> None:
        """End the engine as a crash would."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End the engine in an orderly way."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _ask(self, method: str, verb: str, body: Json | None = None, read_seconds: float = 10.0) -> Any:
        # A connection a question: the control port must stay usable after the engine was told to drop connections.
        connection = http.client.HTTPConnection(self.host, self.control_port, timeout=read_seconds)
        try:
            content = None if body is None else msgspec.json.encode(body)
            connection.request(method, f"/_scripted/{verb}", content)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            message = f"{self.name}: {method} {verb} -> {answer.status} {text.decode()}"
            raise AssertionError(message)
        return msgspec.json.decode(text)


def start(*options: str, name: str = "scripted", prefix: Sequence[str] = (), host: str = LOOPBACK) -> ScriptedEngine:
    """Start the engine and wait for its ready line; `prefix` is for `taskset` and the like."""
    command = [*prefix, sys.executable, "-m", "tests.support.scripted_engine", "--exit-with-stdin", "--name", name]
    command += ["--host", host]
    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(READY_SECONDS) else b""
    if not line:
        process.kill()
        message = f"the scripted engine did not start (exit status {process.wait(STOP_SECONDS)})"
        raise RuntimeError(message)
    ready = msgspec.json.decode(line)
    more = tuple(ready["more_ports"])
    return ScriptedEngine(process, name, ready["port"], ready["control_port"], host, more)


@contextmanager
def scripted_engine(*options: str, name: str = "scripted", prefix: Sequence[str] = ()) -> Iterator[ScriptedEngine]:
    """A running engine that ends with the block, for example `scripted_engine("--chunk-interval-ms", "20")`."""
    engine = start(*options, name=name, prefix=prefix)
    try:
        yield engine
    finally:
        engine.stop()
