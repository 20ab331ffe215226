"""Starts and ends what is measured: moegate, and each peer at its best settings; it measures nothing."""

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
from tests.performance.peer_catalogue import peer
from tests.support.scripted_engine.process import ScriptedEngine

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120.0
STOP_SECONDS = 8.0
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
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        url = urlsplit(self.url)
        return url.hostname or "127.0.0.1", url.port or 80

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
    """Where a target runs: the engine behind it, a folder of its own, and a prefix such as `taskset -c 0`."""

    engine: ScriptedEngine
    folder: Path
    prefix: tuple[str, ...] = ()


def free_port() -> int:
    """Take a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, path: str, headers: dict[str, str]) -> bool:
    """Tell whether the target answers 200 there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def launch(place: Place, command: Sequence[str], port: int, ready_path: str) -> "subprocess.Popen[bytes]":
    """Start a server and wait until it answers; its output goes to a file, of which a failure shows the end."""
    log = place.folder / "server.log"
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
        if answers(port, ready_path, {}):
            return process
        time.sleep(0.2)
    reason = "it ended" if process.poll() is not None else f"not ready within {READY_SECONDS:.0f} s"
    Target("", "", process.pid, "", "", process=process).stop()
    tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
    message = f"{reason}: {tail[-400:]}"
    raise UnavailableError(message)


def direct(place: Place) -> Target:
    """Give the engine itself: the ceiling of generator and engine together."""
    return Target("direct", place.engine.url, place.engine.pid, "-", "the scripted engine itself")


def vllm_router(place: Place) -> Target:
    """Start vllm-router without logging, retries, breaker and prefix tree."""
    router = peer("vllm-router")
    if not router.installed:
        message = "not installed (make bench-peers)"
        raise UnavailableError(message)
    port = free_port()
    settings = "--policy round_robin --log-level error --disable-retries --disable-circuit-breaker"
    settings += " --max-concurrent-requests 100000 --health-check-interval-secs 3600"
    command = [str(router.executable), "--host", "127.0.0.1", "--port", str(port), *settings.split()]
    command += ["--prometheus-port", str(free_port()), "--worker-urls", place.engine.url]
    process = launch(place, command, port, "/health")
    return Target(router.name, f"http://127.0.0.1:{port}", process.pid, router.version, settings, process=process)


LITELLM_CONFIG = """\
model_list:
  - model_name: kimi-k2
    litellm_params: {{model: openai/kimi-k2, api_base: "{url}/v1", api_key: none}}
litellm_settings: {{set_verbose: false, telemetry: false, num_retries: 0, request_timeout: 600}}
general_settings: {{disable_spend_logs: true, dangerously_permit_weak_or_unset_master_key: true}}
"""


def litellm(place: Place) -> Target:
    """Start LiteLLM's proxy with one worker and no logging, keys, database or callbacks."""
    proxy = peer("litellm")
    if not proxy.installed:
        message = "not installed (make bench-peers)"
        raise UnavailableError(message)
    port = free_port()
    config = place.folder / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(url=place.engine.url))
    command = ["env", "LITELLM_LOG=ERROR", "LITELLM_MODE=PRODUCTION", str(proxy.executable), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    process = launch(place, command, port, "/health/liveliness")
    settings = "1 worker, log level ERROR, no keys, no database, no callbacks, no retries"
    url = f"http://127.0.0.1:{port}"
    return Target(proxy.name, url, process.pid, proxy.version, settings, streams=20, process=process)


def pin_prefix(core: int | None) -> tuple[str, ...]:
    """Bind to one core, where that was asked for and `taskset` is there."""
    if core is None:
        return ()
    command = shutil.which("taskset")
    if command is None:
        message = "--pin needs taskset"
        raise UnavailableError(message)
    return (command, "-c", str(core))
