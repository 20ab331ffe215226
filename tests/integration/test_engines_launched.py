"""Gateways that launch engines, and `moegate engines` beside them, from the same configuration; the engines are toys."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.gateway_process import free_port, poll
from tests.support.toy_engine.folder import Folder, gone, toy_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    with toy_folder(tmp_path, monkeypatch) as made:
        yield made


def test_a_gateway_finds_the_engine_and_leaves_it_running(folder: Folder) -> None:
    folder.engines("up")
    pid = folder.pid()
    with folder.gateway() as gateway:
        assert "engine runs already" in gateway.log
        assert "engine started" not in gateway.log
        assert folder.pid() == pid
    assert folder.status()[0]["state"] == "ready"
    with folder.gateway() as gateway:
        folder.engines("restart")
        gateway.wait_log("engine runs already", times=2)
        gateway.wait_at_rest()
        assert "engine started" not in gateway.log
    assert folder.engines("down").stdout == "toy-0: stopped\n"


def test_what_is_taken_down_under_a_gateway_stays_down_until_it_is_brought_up(folder: Folder) -> None:
    folder.engines("up")
    with folder.gateway() as gateway:
        folder.engines("down")
        gateway.wait_log("it is not started until one starts it")
        answer = gateway.http.get("/readyz")
        assert answer.status_code == 503
        assert "stopped by a command" in answer.text
        assert folder.engines("up").returncode == 0
        gateway.wait_at_rest()
        assert folder.status()[0]["started_by"] == "command"


def test_a_gateway_s_engine_is_not_a_command_s_to_stop(folder: Folder) -> None:
    with folder.gateway() as gateway:
        (engine,) = folder.status()
        assert (engine["state"], engine["started_by"], engine["starter_pid"]) == (
            "ready",
            "gateway",
            gateway.process.pid,
        )
        down = folder.engines("down")
        assert down.returncode == 1
        pid = gateway.process.pid
        assert down.stdout == f"toy-0: a gateway (pid {pid}) runs it, and stops it when it stops itself\n"
        up = folder.engines("up")
        assert up.returncode == 0
        assert "runs already" in up.stdout
        assert folder.pid() == engine["pid"]
        restart = folder.engines("restart")
        assert restart.returncode == 0, restart
        assert folder.pid() != engine["pid"]
        gateway.wait_at_rest()
        last = folder.pid()
    assert gone(last)


def test_a_launch_that_changes_on_its_port_is_one_engine_after_the_other(folder: Folder) -> None:
    port = free_port()
    folder.write({"port": port})
    with folder.gateway() as gateway:
        before = folder.pid()
        folder.write({"port": port, "token": "new"})
        gateway.write(folder.config)
        gateway.wait_log("engine waits for the one before it")
        gateway.wait_log("engine started", times=2)
        assert gone(before)
        assert "in use" not in gateway.log
        gateway.wait_at_rest()
        after = psutil.Process(folder.pid())
        assert after.environ()["TOY_TOKEN"] == "new"


def test_what_a_gateway_says_of_engines_that_fail(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        folder.write(
            {"port": free_port(), "mode": "dies"},
            {"port": free_port(), "mode": "never", "ready_seconds": 0.5},
            {"port": server.getsockname()[1]},
        )
        with folder.gateway(ready_path="/healthz") as gateway:
            gateway.wait_log("how='exited with status 1'")
            gateway.wait_log("how='did not get ready within 0.5 s'")
            gateway.wait_log("its port is in use by another program")
            gateway.wait_log("out of memory, said the toy")
            for reason in (
                "toy-0: failed (the engine exited with status 1; it is started again in",
                "toy-1: failed (the engine did not get ready within 0.5 s; it is started again in",
                "toy-2: failed (the engine cannot listen: its port is in use by another program; it is started again in",
            ):
                poll(lambda reason=reason: reason in gateway.http.get("/readyz").text, reason, 30)
            body = {"model": "kimi-k2", "messages": [{"role": "user", "content": "hi"}]}
            for answer in (gateway.http.get("/readyz"), gateway.http.post("/v1/chat/completions", json=body)):
                assert answer.status_code == 503
                assert not any(word in answer.text for word in (str(folder.path), "127.0.0.1", "out of memory"))


def test_a_gateway_that_is_killed_leaves_no_engine(folder: Folder) -> None:
    folder.write({"port": free_port(), "mode": "stubborn"}, stop_seconds=0.2)
    with folder.gateway() as gateway:
        pid = folder.pid()
        gateway.process.kill()
        gateway.wait_exit()
        poll(lambda: gone(pid), "the engine has ended")
        gateway.stop = lambda: 0  # type: ignore[method-assign]  # it cannot be asked any more


def test_a_gateway_stops_all_its_engines_at_once(folder: Folder) -> None:
    launches = [{"port": free_port(), "mode": "stubborn"} for _ in range(4)]
    folder.write(*launches, stop_seconds=2.0)
    with folder.gateway() as gateway:
        gateway.wait_at_rest()
        pids = [engine["pid"] for engine in folder.status()]
    stopped = re.findall(r"^(\S+) .*(?:engine stopped|stopping, calls in flight)", gateway.log, re.MULTILINE)
    assert all(gone(pid) for pid in pids)
    assert gateway.log.count("engine did not stop, it was killed") == len(launches)
    assert len(stopped) == len(launches) + 1
