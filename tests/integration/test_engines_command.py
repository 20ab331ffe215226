"""`moegate engines` without a gateway; the engines are toys, the rest is real.

The command line runs in this process, because to start it as a program takes a second each time; one test does.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.gateway_process import free_port, moegate, poll
from tests.support.toy_engine.folder import Folder, gone, toy_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    with toy_folder(tmp_path, monkeypatch) as made:
        yield made


# Up, status, down


def test_a_day_of_two_engines(folder: Folder) -> None:
    folder.write({"port": free_port()}, {"port": free_port()})
    up = folder.engines("up")
    assert up.returncode == 0, up
    for name in folder.names:
        assert re.search(rf"^{name}: started, pid \d+, log \.moegate/logs/{name}@\d+\.log$", up.stdout, re.MULTILINE)
        assert re.search(rf"^{name}: ready after \d+ s$", up.stdout, re.MULTILINE)
    seen = folder.status()
    assert [(engine["name"], engine["state"], engine["started_by"]) for engine in seen] == [
        ("toy-0", "ready", "command"),
        ("toy-1", "ready", "command"),
    ]
    assert {engine["weight_format"] for engine in seen} == {"bf16"}
    assert all(engine["memory_bytes"] > 1_000_000 for engine in seen)
    again = folder.engines("up")
    assert again.returncode == 0
    assert again.stdout.count("runs already") == 2
    assert [engine["pid"] for engine in folder.status()] == [engine["pid"] for engine in seen]
    assert folder.engines("down", "toy-1").stdout == "toy-1: stopped\n"
    assert [engine["state"] for engine in folder.status()] == ["ready", "down"]
    assert folder.engines("status").returncode == 1
    down = folder.engines("down")
    assert down.returncode == 0
    assert sorted(down.stdout.splitlines()) == ["toy-0: stopped", "toy-1: does not run"]
    assert all(gone(engine["pid"]) for engine in seen)
    assert folder.engines("down").returncode == 0


def test_status_for_people(folder: Folder) -> None:
    folder.engines("up")
    ended = folder.engines("status")
    assert ended.returncode == 0
    heads, line = ended.stdout.splitlines()
    assert heads.split() == ["ENGINE", "BACKEND", "STATE", "PID", "STARTED", "BY", "MEMORY", "URL", "REASON"]
    assert re.fullmatch(r"toy-0 +toy +ready +\d+ +command +\d+ MiB +http://127\.0\.0\.1:\d+", line)


def test_an_engine_outlives_the_command_and_its_terminal(folder: Folder) -> None:
    up = moegate("engines", "up", folder=folder.path, environment=folder.environment)
    assert up.returncode == 0, up
    process = psutil.Process(folder.pid())
    assert os.getsid(process.pid) == process.pid
    keeper = process.parent()
    assert keeper is not None
    keeper.send_signal(signal.SIGHUP)
    keeper.send_signal(signal.SIGINT)
    assert folder.engines("status").returncode == 0


def test_with_an_engine_go_its_workers(folder: Folder) -> None:
    folder.write({"port": free_port(), "mode": "forks"})
    folder.engines("up")
    worker = int(re.findall(r"worker (\d+)", Path(folder.status()[0]["log"]).read_text())[0])
    assert not gone(worker)
    assert folder.engines("down").returncode == 0
    poll(lambda: gone(worker), "the worker has ended")


def test_one_that_does_not_heed_is_killed(folder: Folder) -> None:
    folder.write({"port": free_port(), "mode": "stubborn"}, stop_seconds=0.2)
    folder.engines("up")
    pid = folder.pid()
    assert folder.engines("down").stdout == "toy-0: stopped\n"
    assert gone(pid)
    assert folder.status()[0]["reason"] == "was ended by signal 9 when told to"


def test_restart_is_another_process(folder: Folder) -> None:
    folder.engines("up")
    before = folder.pid()
    restarted = folder.engines("restart", "toy-0")
    assert restarted.returncode == 0
    assert [line.partition(",")[0].rstrip("0123456789 s") for line in restarted.stdout.splitlines()][:2] == [
        "toy-0: stopped".rstrip("s"),
        "toy-0: started",
    ]
    assert gone(before)
    assert folder.pid() != before


# What goes wrong


def test_an_engine_that_dies_at_its_start(folder: Folder) -> None:
    folder.write({"port": free_port(), "mode": "dies"})
    up = folder.engines("up")
    assert up.returncode == 1
    assert re.search(r"^toy-0: exited with status 1; log \.moegate/logs/", up.stdout, re.MULTILINE)
    assert "toy-0:   | out of memory, said the toy\n" in up.stdout
    assert folder.status()[0]["reason"] == "exited with status 1"


def test_an_engine_that_never_gets_ready(folder: Folder) -> None:
    folder.write({"port": free_port(), "mode": "never", "ready_seconds": 1.5})
    up = folder.engines("up")
    assert up.returncode == 1
    assert "toy-0: loading (the engine says that it is not ready)\n" in up.stdout
    assert "toy-0: is not ready after 1.5 s; log " in up.stdout
    assert up.stdout.endswith("toy-0: stopped\n")
    assert folder.status()[0]["state"] == "down"


def test_a_port_that_somebody_else_has(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        folder.write({"port": server.getsockname()[1]})
        up = folder.engines("up")
        assert (up.returncode, up.stdout) == (1, "toy-0: cannot listen: its port is in use by another program\n")
        (engine,) = folder.status()
        assert (engine["state"], engine["reason"]) == ("down", "cannot listen: its port is in use by another program")


def test_one_that_fails_does_not_keep_the_others_down(folder: Folder) -> None:
    folder.write({"port": free_port(), "mode": "dies"}, {"port": free_port()})
    assert folder.engines("up").returncode == 1
    assert [engine["state"] for engine in folder.status()] == ["down", "ready"]


@pytest.mark.parametrize("command", ["up", "status", "down", "restart", "command"])
def test_a_name_that_is_not_configured(folder: Folder, command: str) -> None:
    ended = folder.engines(command, "toy-9")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "no replica 'toy-9' with `launch:` is configured; known: toy-0\n"


@pytest.mark.parametrize("command", [["up"], ["status"], ["down"], ["restart"], ["command", "toy-0"]])
def test_a_configuration_that_is_wrong(folder: Folder, command: list[str]) -> None:
    (folder.path / "other.yaml").write_text((folder.path / "moegate.yaml").read_text().replace(': "toy"', ': "toi"'))
    ended = folder.engines(*command, "--config", "other.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "nothing is registered as 'toi' in backends" in ended.stderr


# Settings that change


def test_other_settings_replace_the_engine_on_its_port(folder: Folder) -> None:
    port = free_port()
    folder.write({"port": port})
    folder.engines("up")
    before = folder.pid()
    folder.write({"port": port, "token": "new"})
    assert folder.status()[0]["state"] == "other settings"
    assert folder.engines("status").returncode == 1
    up = folder.engines("up")
    assert up.returncode == 0
    assert up.stdout.startswith("toy-0: runs with other settings, and is stopped first\n")
    assert gone(before)
    assert folder.status()[0]["state"] == "ready"


def test_an_engine_that_the_configuration_has_lost_is_shown_and_can_be_stopped(folder: Folder) -> None:
    folder.engines("up")
    before = folder.pid()
    folder.write({"port": free_port()})
    now, lost = folder.status()
    assert (now["state"], now["pid"]) == ("down", None)
    assert (lost["name"], lost["state"], lost["pid"]) == ("toy-0", "not configured", before)
    assert folder.engines("down", "toy-0").stdout == "toy-0: stopped\n"
    assert gone(before)


# The command line


def test_the_command_of_an_engine_is_what_runs(folder: Folder) -> None:
    folder.write({"port": free_port(), "token": "a-secret"})
    shown = folder.engines("command", "toy-0").stdout
    assert "a-secret" not in shown
    assert shown.startswith("# To this environment comes the shell's own")
    words = shlex.split(shown.partition("\n")[2].replace("\\\n", " "))
    assert words[:2] == ["env", "TOY_TOKEN=***"]
    folder.engines("up")
    process = psutil.Process(folder.pid())
    assert process.cmdline() == words[2:]
    assert process.environ()["TOY_TOKEN"] == "a-secret"
