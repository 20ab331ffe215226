"""Engines with checkpoints of their own, and the command run on them as anyone would run it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.engines.torch_reference.engine_process import Engine, running_engine
from tests.engines.verify.variants import K2_TINY, copy
from tests.support.gateway_process import COMMAND

HERE = Path(__file__).parent
Json = dict[str, Any]
VERIFY_SECONDS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


class Verified:
    """What one run of the command said."""

    def __init__(self, status: int, text: str, models: list[Json] | None = None) -> None:
        self.status = status
        self.text = text
        self.models = models or []

    def replica(self, name: str) -> Json:
        assert self.models, self.text
        return next(each for model in self.models for each in model["replicas"] if each["replica"] == name)

    def verdicts(self, name: str) -> dict[str, str]:
        """Per check, what was found of a replica."""
        return {finding["check"]: finding["verdict"] for finding in self.replica(name)["findings"]}

    def detail(self, name: str, check: str) -> str:
        return str(next(each["detail"] for each in self.replica(name)["findings"] if each["check"] == check))


class Lab:
    """Starts engines and verifies them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        # Of its own: the lab's may be trained anew while engines are up.
        self.model = copy(K2_TINY, folder / "k2-tiny")
        self._engines: dict[tuple[Path, tuple[str, ...]], Engine] = {}
        self._runs = self._started = 0

    def engine(self, model: Path, *options: str) -> Engine:
        """An engine that serves a checkpoint; one and the same for the same question."""
        key = (model, options)
        if key not in self._engines:
            self._started += 1
            folder = self.folder / f"engine-{self._started}"
            folder.mkdir()
            self._engines[key] = self.stack.enter_context(running_engine(model, *options, folder=folder))
        return self._engines[key]

    def end(self, model: Path, *options: str) -> None:
        """An engine is not needed any more."""
        self._engines.pop((model, options)).kill()

    def verify(self, *replicas: Json, arguments: tuple[str, ...] = ("--json",)) -> Verified:
        """Run the command on a configuration of these replicas."""
        self._runs += 1
        return run_verify(self.folder, f"run-{self._runs}.yaml", replicas, arguments)


def run_verify(folder: Path, name: str, replicas: Sequence[Json], arguments: tuple[str, ...] = ("--json",)) -> Verified:
    """Write a configuration of these replicas and run the command on it."""
    model = {
        "name": "kimi-k2",
        "checkpoint": {"id": "moegate/k2-tiny", "context_length": 8192, "weight_format": "bf16"},
        "replicas": list(replicas),
    }
    file = folder / name
    file.write_text(json.dumps({"server": {"anonymous": True}, "models": [model]}))
    command = [COMMAND, "engines", "verify", "--config", file, *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=VERIFY_SECONDS, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    models = json.loads(ended.stdout) if "--json" in arguments and ended.stdout else None
    return Verified(ended.returncode, ended.stdout + ended.stderr, models)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("verify"))
    with lab.stack:
        yield lab


@pytest.fixture(scope="session")
def reference(lab: Lab) -> Json:
    """The reference engine with k2-tiny as it is."""
    return {"name": "reference", "backend": "torch_reference", "url": lab.engine(lab.model).url}
