"""The gateway starts before its engines, says when it is ready, and ends in good order: at once only if asked twice."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, assert_private, chat, error_of
from tests.integration.configs import config, model, replica
from tests.integration.conftest import World, assert_quiet_log
from tests.integration.wire import Wire
from tests.support.gateway_process import (
    GatewayProcess,
    free_port,
    gateway_process,
    moegate,
    poll,
    write_config,
)
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KEY = generate_key()


@pytest.fixture
def settings(a: ScriptedEngine) -> dict[str, object]:
    """A plain configuration."""
    return config(model("kimi-k2", replica("a", a)), keys={"x": KEY})


def ask(gateway: GatewayProcess) -> int:
    """The status of one call."""
    return gateway.http.post(CHAT, json=chat(), headers={"x-api-key": KEY}).status_code


def refused(gateway: GatewayProcess) -> bool:
    """Whether nobody listens any more."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", gateway.port)) != 0


def test_ready_once_an_engine_is(tmp_path: Path) -> None:
    with scripted_engine(name="late") as late, scripted_engine(name="loading") as loading:
        late.listen(accept=False, drop=True)
        loading.health(503)
        settings = config(
            model("kimi-k2", replica("late", late, backend="vllm")),
            model("other", replica("loading", loading, backend="sglang")),
            keys={"x": KEY},
        )
        with gateway_process(settings, tmp_path, ready_path="/healthz") as gateway:
            poll(lambda: "ConnectError" in gateway.http.get("/readyz").text, "both were probed")
            poll(lambda: "says" in gateway.http.get("/readyz").text, "both were probed")
            answer = gateway.http.get("/readyz")
            assert answer.status_code == 503
            assert_private(answer)
            assert answer.json() == {
                "status": "not ready",
                "models": {
                    "kimi-k2": ["late: unreachable (the probe failed with ConnectError)"],
                    "other": ["loading: starting (the engine says that it is not ready)"],
                },
            }
            answer = gateway.http.post(CHAT, json=chat(), headers={"x-api-key": KEY})
            error_of(answer, 503, "no_replica_available")
            assert answer.headers["retry-after"] == "1"

            late.listen(accept=True)
            poll(lambda: gateway.http.get("/readyz").is_success, "ready")
            assert list(gateway.http.get("/readyz").json()["models"]) == ["other"]
            assert ask(gateway) == 200
            loading.health(200)
            gateway.wait_at_rest()
        assert_quiet_log(gateway.log, KEY)


def test_a_running_stream_may_end(settings: dict[str, object], tmp_path: Path, a: ScriptedEngine) -> None:
    with gateway_process(settings, tmp_path) as gateway, Wire(gateway.port, KEY) as wire:
        wire.ask(chat(fault="slow,gate=g", stream=True))
        wire.read_to(b" A")
        gateway.send_signal(signal.SIGTERM)
        gateway.wait_log("calls in flight may end")
        poll(lambda: refused(gateway), "no new connections")
        assert a.state()["running"] == 1
        a.release("g")
        wire.read_to(b"data: [DONE]\n\n")
        assert gateway.wait_exit() == 0
    assert "stopped" in gateway.log
    assert_quiet_log(gateway.log, KEY)


def test_a_second_signal_does_not_wait(settings: dict[str, object], tmp_path: Path, a: ScriptedEngine) -> None:
    with gateway_process(settings, tmp_path) as gateway, Wire(gateway.port, KEY) as wire:
        wire.ask(chat(fault="slow", stream=True))
        wire.read_to(b" A")
        gateway.send_signal(signal.SIGINT)
        gateway.wait_log("calls in flight may end")
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait_exit(5) == 0
        a.wait(running=0, aborted=1)
        assert b"[DONE]" not in wire.read_rest()
    assert_quiet_log(gateway.log, KEY)


def test_the_grace_ends(settings: dict[str, object], tmp_path: Path, a: ScriptedEngine) -> None:
    settings["server"] = {"grace_seconds": 1}
    with gateway_process(settings, tmp_path) as gateway, Wire(gateway.port, KEY) as wire:
        wire.ask(chat(fault="slow", stream=True))
        wire.read_to(b" A")
        assert gateway.stop() == 0
        a.wait(running=0, aborted=1)
        assert b"[DONE]" not in wire.read_rest()
    assert_quiet_log(gateway.log, KEY)


def test_a_taken_port_is_a_clear_error(world: World, gateway: GatewayProcess, tmp_path: Path) -> None:
    settings = config(model("kimi-k2", replica("a", world.a)), keys={"x": KEY})
    write_config(tmp_path / "moegate.yaml", settings, gateway.port)
    ended = moegate("serve", folder=tmp_path)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{gateway.port}: Address already in use" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bad_file_does_not_start(tmp_path: Path) -> None:
    write_config(tmp_path / "moegate.yaml", {"models": [], "plugin": []}, free_port())
    ended = moegate("serve", folder=tmp_path)
    assert ended.returncode == 2
    assert "plugin: unknown setting; did you mean 'plugins'?" in ended.stderr
    assert "models: at least one model is needed" in ended.stderr
    assert "Traceback" not in ended.stderr
