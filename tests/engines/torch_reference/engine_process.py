"""Starts the reference engine as the gateway does and speaks to it; it must not know what the tests expect."""

import contextlib
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from backends.environments import MARKER, engines_root
from backends.torch_reference.engine import ENGINE_VERSION

PROJECT = Path(__file__).parents[3]
MODEL_NAME = "kimi-k2"
START_SECONDS = 90
STOP_SECONDS = 30
_READY = re.compile(r"torch_reference ready: \S+ on (?P<url>http://\S+) ")


def engine_python() -> Path:
    """Return the interpreter of the engine's own environment, or fail saying how to make it."""
    folder = engines_root() / f"torch-reference-{ENGINE_VERSION}"
    if (folder / MARKER).is_file():
        return folder / "bin" / "python"
    if given := os.environ.get("MOEGATE_TORCH_REFERENCE_PYTHON"):
        return Path(given)
    pytest.fail("the reference engine is not installed: run `make engine-torch-reference`", pytrace=False)


def run_tool(script: str, *arguments: str, text: str = "") -> str:
    """Run one of this folder's scripts in the engine's environment; return what it printed."""
    command = [engine_python(), "-P", Path(__file__).with_name(script), *arguments]
    finished = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=300, env=environment(), check=False
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


def environment() -> dict[str, str]:
    """Return the variables that the engine is started with."""
    return os.environ | {"PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1"}


def engine_command(model: Path, *options: str) -> list[str | Path]:
    """Return the command line of an engine on a free port, unless the options name one."""
    command = [engine_python(), "-P", "-m", "backends.torch_reference.engine", "--model", model]
    return [*command, "--served-model-name", MODEL_NAME, "--port", "0", *options]


class Engine:
    """A running engine."""

    def __init__(self, model: Path, *options: str, log: Path) -> None:
        """Start it and wait until it says that it is ready."""
        began = time.monotonic()
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                engine_command(model, *options),
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                env=environment(),
                cwd=log.parent,
            )
        self.log = log
        self.lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            line = self.lines.get(timeout=START_SECONDS)
            ready = _READY.match(line)
        except queue.Empty:
            line, ready = "", None
        if ready is None:
            self.kill()
            pytest.fail(f"the engine did not start: {line} {log.read_text()[-2000:]}")
        self.url = ready["url"]
        self.start_seconds = time.monotonic() - began
        self.http = httpx.Client(base_url=self.url, timeout=120)
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line)
        self.lines.put("")

    def chat(self, text: str = "hi", **fields: Any) -> Any:
        """Ask one question by the SDK."""
        fields.setdefault("messages", [{"role": "user", "content": text}])
        fields.setdefault("temperature", 0)
        return self.client.chat.completions.create(model=MODEL_NAME, **fields)

    def complete(self, prompt: Any, **fields: Any) -> Any:
        """Continue a text by the SDK."""
        fields.setdefault("temperature", 0)
        return self.client.completions.create(model=MODEL_NAME, prompt=prompt, **fields)

    def metric(self, name: str) -> float:
        """Return one sample of /metrics."""
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith(f"moegate_reference_engine_{name} "):
                return float(line.rsplit(" ", 1)[1])
        raise LookupError(name)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the engine and return its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Return the exit status."""
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End the engine whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        if hasattr(self, "http"):
            self.http.close()
            self.client.close()


@contextlib.contextmanager
def running_engine(model: Path, *options: str, folder: Path) -> Iterator[Engine]:
    """Run an engine for as long as the block lasts."""
    engine = Engine(model, *options, log=folder / "engine.log")
    try:
        yield engine
    finally:
        engine.kill()


def eventually(condition: Callable[[], bool], seconds: float = 10, what: str = "it") -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
        threading.Event().wait(0.02)
