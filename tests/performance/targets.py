"""Starts and ends what is measured, of whatever kind; which settings each one has is the business of the `peers_` files."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.performance.accounting import process_tree
from tests.performance.peer_catalogue import Peer, peer
from tests.support.scripted_engine.process import ScriptedEngine

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120.0
STOP_SECONDS = 8.0
# As fine as a start-up time is told.
LOOK_SECONDS = 0.02
# Nothing of a peer may look for a server outside this machine.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*", "no_proxy": "*"}


class UnavailableError(Exception):
    """A target that is not here or did not start; it is skipped with this reason and never counted."""


@dataclass
class Target:
    """Something that answers at a URL."""

    name: str
    url: str
    pid: int
    version: str
    settings: str
    headers: tuple[str, ...] = ()
    # What it can hold with paced streams; a slower one gets fewer, because a queue would be measured otherwise.
    streams: int | None = None
    # What it calls the model.
    model: str = "kimi-k2"
    # A file of keys that calls take in turn, instead of one among the headers.
    keys: Path | None = None
    launched_ns: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        url = urlsplit(self.url)
        return url.hostname or "127.0.0.1", url.port or 80

    @property
    def path(self) -> str:
        """What comes before `/v1`."""
        return urlsplit(self.url).path.rstrip("/")

    def stop(self) -> None:
        """End every process we started for it, by pid."""
        if self.process is None:
            return
        tree = process_tree(self.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_SECONDS)
        for pid in tree[1:]:
            # Only what still belongs to the session that we opened for this target: pids are used again.
            try:
                if os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@dataclass(frozen=True)
class Place:
    """Where a target runs.

    Attributes:
        engine: the engine behind it.
        folder: one of its own.
        prefix: a command before its own, such as `taskset -c 0`.
        others: URLs of further engines.
        keys: how many keys there are, where a target keeps keys at all.
        careful: it keeps its own retries, breaker and health checks, as they come, which are off for what a call costs.
    """

    engine: ScriptedEngine
    folder: Path
    prefix: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    keys: int = 1
    careful: bool = False

    @property
    def urls(self) -> tuple[str, ...]:
        """All engines."""
        return self.engine.url, *self.others

    @property
    def addresses(self) -> tuple[str, ...]:
        """All engines as `host:port`."""
        return tuple(urlsplit(url).netloc for url in self.urls)


def free_port() -> int:
    """Take a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, path: str | None) -> bool:
    """Tell whether the target answers 200 there, or at all where it has no page that says so."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path or "/")
        return connection.getresponse().status == http.client.OK or path is None
    except OSError:
        return False
    finally:
        connection.close()


def launch(
    place: Place, command: Sequence[str], port: int | Path, ready_path: str | None
) -> "tuple[subprocess.Popen[bytes], int]":
    """Start a server and wait until it answers; with it comes when it was started, by the monotonic clock.

    Its output goes to a file, of which a failure shows the end. One that takes a port of its own writes it into a file.
    """
    log = place.folder / "server.log"
    began_ns = time.monotonic_ns()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*place.prefix, *command],
            cwd=place.folder,
            env={**os.environ, **OFFLINE},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        number = int(port.read_text()) if isinstance(port, Path) and port.exists() else port
        if isinstance(number, int) and answers(number, ready_path):
            return process, began_ns
        time.sleep(LOOK_SECONDS)
    reason = "it ended" if process.poll() is not None else f"not ready within {READY_SECONDS:.0f} s"
    Target("", "", process.pid, "", "", process=process).stop()
    tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
    raise UnavailableError(f"{reason}: {tail[-400:]}")


def direct(place: Place) -> Target:
    """Give the engine itself: the ceiling of generator and engine together."""
    return Target("direct", place.engine.url, place.engine.pid, "-", "the scripted engine itself")


def installed(name: str) -> Peer:
    """Find a peer that was installed."""
    found = peer(name)
    if not found.installed:
        raise UnavailableError("not installed (make bench-peers)")
    return found


def only_one_engine(place: Place, reason: str) -> str:
    """Give the one engine's URL to a target that cannot choose between several."""
    if len(place.urls) > 1:
        raise UnavailableError(f"one engine only: {reason}")
    return place.engine.url


def pin_prefix(core: int | None) -> tuple[str, ...]:
    """Bind to one core, where that was asked for and `taskset` is there."""
    if core is None:
        return ()
    command = shutil.which("taskset")
    if command is None:
        message = "--pin needs taskset"
        raise UnavailableError(message)
    return (command, "-c", str(core))
