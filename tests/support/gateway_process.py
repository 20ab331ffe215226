"""Starts `moegate serve` as a real process for tests, watches it from outside, and ends it; it knows no setting of the gateway."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

Json = dict[str, Any]

# One test's failures must not be the next one's ejected replica, used up budget, or engine that is not to be called yet.
FORGETFUL: Json = {
    "breaker": {"enabled": False},
    "retries": {"budget_share": 10, "longest_pause_seconds": 0, "longest_hold_seconds": 0, "longest_rest_seconds": 0},
}

T = TypeVar("T")

COMMAND = Path(sys.executable).parent / "moegate"
START_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.01


def poll(look: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Look until there is something true to see, and return it: for what no gate can tell of."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(POLL_SECONDS)
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class GatewayProcess:
    """A gateway that runs.

    Attributes:
        file: its configuration file; `write` changes it.
        http: a client for its base URL, without a key.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.folder = folder
        self.file = folder / "moegate.yaml"
        self.http = httpx.Client(base_url=self.url, trust_env=False, verify=False, timeout=20)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def rss_bytes(self) -> int:
        """The memory it holds now."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def clients(self) -> int:
        """How many connections of clients are open."""
        connections = psutil.Process(self.process.pid).net_connections("tcp")
        return sum(each.laddr.port == self.port and each.status == psutil.CONN_ESTABLISHED for each in connections)

    def write(self, config: Json | str) -> None:
        """Replace its configuration, in one step; the port stays what it is."""
        write_config(self.file, config, self.port)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait_exit(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended; its exit status."""
        return self.process.wait(seconds)

    def wait_log(self, text: str, *, times: int = 1, seconds: float = 10.0) -> None:
        """Wait until the log holds a text that often."""
        poll(lambda: self.log.count(text) >= times, f"{text!r} in the log {times} times:\n{self.log[-2000:]}", seconds)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            sample.value
            for sample in self._samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def wait_metric(self, name: str, value: float, **labels: str) -> None:
        """Wait until a metric has a value."""
        poll(lambda: self.metric(name, **labels) == value, f"{name}{labels} is {value}")

    def at_rest(self) -> bool:
        """Whether every replica is ready and no call is in flight."""
        samples = self._samples()
        return not any(
            sample.value
            for sample in samples
            if sample.name == "moegate_replica_in_flight"
            or (sample.name == "moegate_replica_state" and sample.labels["state"] != "ready")
        )

    def wait_at_rest(self) -> None:
        """Wait until every replica is ready and no call is in flight."""
        poll(self.at_rest, "every replica is ready and idle")

    def stop(self) -> int:
        """SIGTERM if it still runs; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait_exit()

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _samples(self) -> list[Sample]:
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        return [sample for family in families for sample in family.samples]


def write_config(file: Path, config: Json | str, port: int) -> None:
    """Write a configuration in one step, so that no reader sees half of it; JSON is YAML too."""
    if not isinstance(config, str):
        config = json.dumps({**config, "server": {**config.get("server", {}), "port": port}}, indent=1)
    new = file.with_suffix(".new")
    new.write_text(config)
    new.replace(file)


def moegate(*arguments: str, folder: Path, environment: Json | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of moegate to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


@contextmanager
def gateway_process(
    config: Json | str,
    folder: Path,
    *,
    options: Sequence[str] = (),
    ready_path: str = "/readyz",
    environment: Json | None = None,
) -> Iterator[GatewayProcess]:
    """A gateway that serves; it is stopped with the block, and must then end with status 0.

    Args:
        config: the configuration, without a port.
        folder: its working directory; the file and the log are kept here.
        options: more arguments for `moegate serve`.
        ready_path: it serves once this answers 200; `/healthz` if no replica is to be ready yet.
        environment: added to ours.
    """
    port = free_port()
    write_config(folder / "moegate.yaml", config, port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "serve", "-c", folder / "moegate.yaml", *options],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    gateway = GatewayProcess(process, port, folder)
    try:
        poll(lambda: _serves(gateway, ready_path), f"the gateway answers {ready_path}", START_SECONDS)
        yield gateway
        assert gateway.stop() == 0, f"the gateway ended badly:\n{gateway.log[-4000:]}"
    finally:
        gateway.end()


def _serves(gateway: GatewayProcess, ready_path: str) -> bool:
    assert gateway.process.poll() is None, f"the gateway did not start:\n{gateway.log[-4000:]}"
    with suppress(httpx.TransportError):
        return gateway.http.get(ready_path).is_success
    return False
