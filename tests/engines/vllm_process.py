"""Starts a real vLLM server on the CPU for tests, with the flags of deploy/lab/engines/README.md, and ends all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest

from tests.support.gateway_process import free_port, poll

ROOT = Path(__file__).resolve().parents[2]
INSTALLER = ROOT / "deploy" / "lab" / "engines" / "install.py"
START_SECONDS = 600.0
STOP_SECONDS = 30.0
CONTEXT_LENGTH = 8192

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
FLAGS = (
    "--dtype=float32 --kv-cache-memory-bytes=268435456 --enforce-eager --enable-auto-tool-choice "
    "--tool-call-parser=kimi_k2 --enable-prompt-tokens-details --host=127.0.0.1"
)


def vllm_python() -> str:
    """The interpreter of vLLM's environment."""
    found = subprocess.run(
        [sys.executable, INSTALLER, "vllm", "--print-python"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.fail(f"vLLM is not installed; run `make engine-vllm` ({found.stderr.strip()})", pytrace=False)
    return found.stdout.strip()


class VllmServer:
    """A vLLM that serves."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def running(self) -> float:
        """What its gauge says of requests that run now."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        return sum(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("vllm:num_requests_running")
        )

    def kill(self) -> None:
        """SIGKILL, for the workers as well."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)


@contextmanager
def vllm_server(
    model: Path,
    folder: Path,
    *,
    flags: Sequence[str] = (),
    usual: str = FLAGS,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[VllmServer]:
    """A vLLM that serves a model as `kimi-k2`, with flags that come after the usual ones, and more environment."""
    port = free_port()
    command = [vllm_python(), "-m", "vllm.entrypoints.openai.api_server", f"--model={model}", f"--port={port}"]
    command += ["--served-model-name=kimi-k2", f"--max-model-len={CONTEXT_LENGTH}", *usual.split(), *flags]
    with (folder / "vllm.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **ENVIRONMENT, **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = VllmServer(process, port)
    try:
        poll(lambda: _healthy(server, folder), "vLLM answers /health", START_SECONDS)
        yield server
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        server.kill()


def _healthy(server: VllmServer, folder: Path) -> bool:
    assert server.process.poll() is None, (folder / "vllm.log").read_text(errors="replace")[-4000:]
    with suppress(httpx.TransportError):
        return httpx.get(f"{server.url}/health", trust_env=False).is_success
    return False
