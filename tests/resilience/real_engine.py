"""A real engine that serves k2-tiny, started as the gateway's launchers would, in a process group that is signalled as one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from backends.launchers.llama_cpp import LlamaCppLaunch, LlamaCppLauncher
from backends.launchers.vllm import VLLMLaunch, VLLMLauncher
from backends.torch_reference.plugin import TorchReferenceLaunch, TorchReferenceLauncher
from tests.support.gateway_process import Json, free_port, poll

MODEL = Path(__file__).resolve().parents[2] / "deploy" / "lab" / "k2-tiny"
SERVED = "kimi-k2"
SLOTS = 16
CONTEXT_LENGTH = 8192
START_SECONDS = 600.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 120.0

LAUNCHERS: Mapping[str, tuple[Any, Any]] = {
    "vllm": (VLLMLauncher(), VLLMLaunch),
    "llama_cpp": (LlamaCppLauncher(), LlamaCppLaunch),
    "torch_reference": (TorchReferenceLauncher(), TorchReferenceLaunch),
}
# What each tells of the calls it has, at work and in its queue.
GAUGES: Mapping[str, tuple[str, ...]] = {
    "vllm": ("vllm:num_requests_running", "vllm:num_requests_waiting"),
    "llama_cpp": ("llamacpp:requests_processing", "llamacpp:requests_deferred"),
    "torch_reference": ("moegate_reference_engine_requests_running", "moegate_reference_engine_requests_waiting"),
}


class RealEngine:
    """An engine that runs, or has ended and can be started again on its port.

    Args:
        name: on the stage.
        kind: whose it is, one of `LAUNCHERS`.
        folder: for its log.

    Raises:
        ConfigError: it is not installed; the message names the command.
    """

    def __init__(self, name: str, kind: str, folder: Path) -> None:
        launcher, settings = LAUNCHERS[kind]
        self.name = name
        self.kind = kind
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"{name}.log"
        launch = settings(model=MODEL, port=self.port, threads=1)
        self._plan = launcher.plan(launch, served_model=SERVED, max_concurrent=SLOTS)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def living(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._plan.argv,
                env={**os.environ, **self._plan.environment},
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        poll(self._healthy, f"{self.kind} answers /health", START_SECONDS)

    def busy(self) -> float:
        """How many calls it says that it has."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=ANSWER_SECONDS).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name in GAUGES[self.kind]
        )

    def ask(self, body: Json) -> Json:
        """Ask it directly; the one choice of its answer."""
        answer = httpx.post(
            f"{self.url}/v1/chat/completions",
            json={**body, "model": SERVED},
            trust_env=False,
            timeout=ANSWER_SECONDS,
        )
        (choice,) = answer.raise_for_status().json()["choices"]
        return dict(choice)

    def kill(self) -> None:
        """End all of it as a crash would."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End it in an orderly way; nothing of it is left."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.kill()

    def freeze(self) -> None:
        """All of it stops where it is; its sockets stay open, and take connections and requests."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _healthy(self) -> bool:
        assert self.living, self._log.read_text(errors="replace")[-4000:]
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        return False
