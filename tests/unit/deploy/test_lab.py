"""The lab, with toys for engines: what fits is brought up behind a gateway, found again by a second call, and taken down."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import yaml

from plugins.engine_supervisor import operating
from tests.support.gateway_process import free_port
from tests.support.toy_engine.plugin import installed_in

LAB = Path(__file__).resolve().parents[3] / "deploy" / "lab"
GIB = 1 << 30


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The lab's scripts, imported as they are when one is run by its path."""
    monkeypatch.syspath_prepend(LAB)
    return {name: importlib.import_module(name) for name in ("lab_machine", "lab_gateway", "lab")}


@pytest.fixture
def machine(modules: dict[str, ModuleType]) -> Any:
    return modules["lab_machine"]


# Memory


def test_what_does_not_fit_is_left_out_with_the_reason(machine: Any) -> None:
    replicas = {"a": "vllm", "b": "sglang", "c": "llama_cpp", "d": "unheard_of"}
    assert machine.choose(replicas, (), 100 * GIB) == {}
    assert machine.choose(replicas, (), 5 * GIB) == {
        "b": "needs about 3 GiB of memory, and 1.5 are left",
        "d": "needs about 3 GiB of memory, and 1.0 are left",
    }
    assert machine.choose(replicas, (), 0).keys() == replicas.keys()


def test_what_runs_has_its_memory_already(machine: Any) -> None:
    replicas = {"a": "vllm", "b": "sglang"}
    assert machine.choose(replicas, ["a"], 4 * GIB) == {}
    assert machine.choose(replicas, ["a", "b"], 0) == {}


@pytest.mark.parametrize(
    ("limit", "used", "cached", "free"),
    [(None, 0, 0, 8 * GIB), ("max", GIB, 0, 8 * GIB), (4 * GIB, 3 * GIB, 0, GIB), (4 * GIB, 3 * GIB, GIB, 2 * GIB)],
)
def test_free_memory_is_the_machine_s_or_the_control_group_s(
    machine: Any, tmp_path: Path, limit: int | str | None, used: int, cached: int, free: int
) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB\nHugePages_Total: 0\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
        (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")
    assert machine.free_memory_bytes(tmp_path, tmp_path) == free


def test_this_machine_has_some(machine: Any) -> None:
    assert 0 < machine.free_memory_bytes() <= psutil.virtual_memory().total


# The whole


class Stage:
    """A lab in a folder, whose engines are toys that need no installation."""

    def __init__(self, folder: Path, lab: Any, *launches: dict[str, Any]) -> None:
        self.folder, self.lab = folder, lab
        self.port = free_port()
        self.missing: dict[str, str] = {}
        replicas = [
            {"name": f"toy-{number}", "backend": "toy", "launch": {"model": "none", "port": free_port(), **launch}}
            for number, launch in enumerate(launches)
        ]
        checkpoint = {"id": "toy", "weight_format": "bf16", "context_length": 1024}
        model = {"name": "kimi-k2", "checkpoint": checkpoint, "replicas": replicas}
        plugins = [{"use": "api_keys", "keys": [{"name": "l", "tenant": "l", "secret": "${MOEGATE_DEMO_KEY}"}]}]
        lab.CONFIG.write_text(yaml.safe_dump({"models": [model], "plugins": plugins}))

    def start(self) -> int:
        status: int = asyncio.run(self.lab.start(self.port, "no-python"))
        return status

    def stop(self) -> bool:
        stopped: bool = asyncio.run(self.lab.Lab().stop())
        return stopped

    def pids(self) -> dict[str, int]:
        """Every process of the lab."""
        files = [*Path(".moegate/engines").glob("*.json"), *Path(".moegate/lab").glob("*.json")]
        records = [json.loads(file.read_text()) for file in files]
        return {record["name"]: record["engine"]["pid"] for record in records if record["state"] == "running"}


@pytest.fixture
def lab(modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    lab: Any = modules["lab"]
    packages = tmp_path / "packages"
    for name, value in installed_in(packages).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(packages)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOEGATE_DEMO_KEY", "mg-0123456789ab-" + "k" * 43)
    monkeypatch.setattr(lab, "CONFIG", tmp_path / "lab.yaml")
    monkeypatch.setattr(lab, "install", lambda *_: None)
    monkeypatch.setattr(operating, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(lab, "version_of", lambda _: "1.0")
    monkeypatch.setattr(lab, "free_memory_bytes", lambda: 100 * GIB)
    yield lab
    assert asyncio.run(lab.Lab().stop())


def test_a_lab_is_brought_up_found_again_and_taken_down(lab: Any, tmp_path: Path, capsys: Any) -> None:
    stage = Stage(tmp_path, lab, {}, {})
    assert stage.start() == 0
    said = capsys.readouterr().out
    assert re.search(r"^ENGINE +VERSION +WEIGHTS +PORT +READY +MEMORY$", said, re.MULTILINE)
    assert len(re.findall(r"^toy-\d +1\.0 +bf16 +\d+ +yes +0\.\d\d GiB$", said, re.MULTILINE)) == 2
    assert f"http://127.0.0.1:{stage.port}/v1" in said
    pids = stage.pids()
    assert set(pids) == {"gateway", "toy-0", "toy-1"}
    assert "engine runs already" in lab.Lab().gateway.record.log.read_text()
    assert stage.start() == 0
    again = capsys.readouterr().out
    assert again.count("runs already") == 3
    assert stage.pids() == pids
    assert stage.stop()
    assert set(capsys.readouterr().out.splitlines()) == {"gateway: stopped", "toy-0: stopped", "toy-1: stopped"}
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids.values())
    assert stage.stop()
    assert capsys.readouterr().out == "gateway: does not run\n"


def test_what_cannot_be_had_is_left_out_and_the_rest_serves(
    lab: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, lab, {}, {})
    needs = iter([None, "could not be installed (status 1)"])
    monkeypatch.setattr(lab, "install", lambda *_: next(needs))
    assert stage.start() == 0
    said = capsys.readouterr().out
    assert "toy-1   left out: could not be installed (status 1)\n" in said
    assert stage.pids().keys() == {"gateway", "toy-0"}
    assert "toy-1" not in lab.Lab().gateway.config.read_text()


def test_one_that_fails_is_shown_and_the_rest_serves(lab: Any, tmp_path: Path, capsys: Any) -> None:
    stage = Stage(tmp_path, lab, {}, {"mode": "dies"})
    assert stage.start() == 1
    said = capsys.readouterr().out
    assert "toy-1:   | out of memory, said the toy\n" in said
    assert re.search(r"^toy-0 .* yes ", said, re.MULTILINE)
    assert re.search(r"^toy-1 .* no: exited with status 1", said, re.MULTILINE)
    assert "toy-1" not in lab.Lab().gateway.config.read_text()


def test_a_port_that_somebody_else_has_is_not_taken_for_the_gateway(lab: Any, tmp_path: Path) -> None:
    """The toy answers all that it is asked, also whether it is ready."""
    stage = Stage(tmp_path, lab, {})
    stage.port = int(yaml.safe_load(lab.CONFIG.read_text())["models"][0]["replicas"][0]["launch"]["port"])
    with pytest.raises(importlib.import_module("lab_gateway").LabError, match=f"something listens on .*:{stage.port}"):
        stage.start()


def test_a_gateway_that_ends_is_told_with_the_end_of_its_log(lab: Any, tmp_path: Path) -> None:
    stage = Stage(tmp_path, lab, {})
    gateway = lab.Lab().gateway
    gateway.config.parent.mkdir(parents=True)
    gateway.config.write_text("modles: []")
    with pytest.raises(importlib.import_module("lab_gateway").LabError, match="did you mean 'models'"):
        asyncio.run(gateway.start(stage.port))
    assert gateway.record is None


def test_the_gateway_gets_what_engines_do_not(lab: Any, tmp_path: Path) -> None:
    stage = Stage(tmp_path, lab, {})
    assert stage.start() == 0
    pids = stage.pids()
    assert "MOEGATE_DEMO_KEY" in psutil.Process(pids["gateway"]).environ()
    assert "MOEGATE_DEMO_KEY" not in psutil.Process(pids["toy-0"]).environ()
