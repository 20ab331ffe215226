"""A working directory whose configuration launches toys, and `moegate engines` in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from typer.testing import CliRunner

from gateway.cli import build_cli
from gateway.errors import ConfigError
from plugins.engine_supervisor import operating, records
from tests.support.gateway_process import GatewayProcess, free_port, gateway_process
from tests.support.toy_engine.plugin import installed_in


class Ended(NamedTuple):
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


class Folder:
    """A working directory with a configuration that launches toys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = installed_in(path / "packages")
        self.packages = path / "packages"
        self.config: dict[str, Any] = {}
        self.names: list[str] = []

    def write(self, *launches: dict[str, Any], stop_seconds: float = 10.0) -> None:
        """Launch a toy for each of these `launch:` blocks, named `toy-0` and so on."""
        replicas = [
            {"name": f"toy-{number}", "backend": "toy", "launch": {"model": "no-model", **launch}}
            for number, launch in enumerate(launches)
        ]
        self.names = [replica["name"] for replica in replicas]
        self.config = {
            "server": {"anonymous": True},
            "models": [
                {
                    "name": "kimi-k2",
                    "checkpoint": {"id": "toy", "weight_format": "bf16", "context_length": 1024},
                    "replicas": replicas,
                }
            ],
            "plugins": [{"use": "engine_supervisor", "stop_seconds": stop_seconds}, {"use": "prometheus"}],
        }
        (self.path / "moegate.yaml").write_text(json.dumps(self.config))

    def engines(self, *arguments: str) -> Ended:
        """Run `moegate engines …` to its end."""
        result = CliRunner().invoke(build_cli(), ["engines", *arguments])
        if isinstance(result.exception, ConfigError):  # what `main` makes of it
            return Ended(2, result.stdout, "".join(f"{problem}\n" for problem in result.exception.problems))
        assert isinstance(result.exception, SystemExit | None), result
        return Ended(result.exit_code, result.stdout, result.stderr)

    def status(self, *names: str) -> list[dict[str, Any]]:
        """What `status --json` says."""
        found: list[dict[str, Any]] = json.loads(self.engines("status", "--json", *names).stdout)
        return found

    def pid(self, name: str = "toy-0") -> int:
        """The process of an engine that runs."""
        (engine,) = self.status(name)
        assert isinstance(engine["pid"], int), engine
        return engine["pid"]

    def gateway(self, **options: Any) -> AbstractContextManager[GatewayProcess]:
        """A gateway with this configuration."""
        return gateway_process(self.config, self.path, environment=self.environment, **options)

    def clear(self) -> None:
        """Leave nothing behind, whatever the test did."""
        for file in (self.path / ".moegate" / "engines").glob("*.json"):
            record = json.loads(file.read_text())
            for process in (record["keeper"], record["engine"]):
                if psutil.pid_exists(process["pid"]) and record["state"] == "running":
                    os.killpg(process["pid"], signal.SIGKILL) if process is record["engine"] else os.kill(
                        process["pid"], signal.SIGKILL
                    )


@contextlib.contextmanager
def toy_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """The folder as the working directory, with one toy; nothing runs on when the block ends."""
    made = Folder(path)
    monkeypatch.chdir(path)
    monkeypatch.syspath_prepend(made.packages)
    monkeypatch.setattr(records, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(operating, "LOOK_SECONDS", 0.05)
    made.write({"port": free_port()})
    try:
        yield made
    finally:
        made.clear()


def gone(pid: int) -> bool:
    """Whether a process is over."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
