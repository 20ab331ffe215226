"""`moegate replicas` and `moegate why` on a gateway that runs: what an operator does and asks while calls come and go."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.asking import CHAT, chat
from tests.integration.configs import model, replica
from tests.integration.conftest import World, assert_quiet_log, client_for
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, gateway_process, moegate, poll, write_config

TENANTS = """\
tenants:
  - name: ops
    keys: [{name: admin, scopes: ["inference", "admin:read", "admin:write"]}]
"""


@dataclass(frozen=True)
class Scene:
    """A gateway, and a key that may do everything there."""

    gateway: GatewayProcess
    http: httpx.Client
    key: str
    settings: dict[str, Any]

    def command(self, *words: str, status: int = 0) -> str:
        """Run a command of moegate; what it prints."""
        environment = {"MOEGATE_URL": self.gateway.url, "MOEGATE_ADMIN_KEY": self.key}
        done = moegate(*words, folder=self.gateway.folder, environment=environment)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def served_by(self) -> str:
        """Who serves a call."""
        answer = self.http.post(CHAT, json=chat())
        assert answer.status_code == 200, answer.text
        return answer.headers["x-moegate-replica"]


@pytest.fixture(scope="module")
def scene(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Replica a before b."""
    folder = tmp_path_factory.mktemp("draining")
    settings: dict[str, Any] = {
        "database": f"sqlite:///{folder / 'moegate.db'}",
        "models": [model("kimi-k2", replica("a", world.a), replica("b", world.b))],
        "policies": {"routing": []},
        "plugins": [{"use": "tenants"}, {"use": "prometheus"}, {"use": "replicas"}, {"use": "decisions", "sample": 1}],
    }
    write_config(folder / "moegate.yaml", settings, 1)
    (folder / "tenants.yaml").write_text(TENANTS)
    applied = moegate("tenants", "apply", "-f", "tenants.yaml", folder=folder)
    assert applied.returncode == 0, applied.stderr
    key = applied.stdout.strip().splitlines()[-1].rpartition(" ")[2]
    world.a.reset()
    world.b.reset()
    with gateway_process(settings, folder) as gateway, client_for(gateway, key) as http:
        poll(lambda: http.get("/admin/v1/replicas").is_success, "it has read the keys")
        gateway.wait_at_rest()
        yield Scene(gateway, http, key, settings)
    assert_quiet_log(gateway.log, key)


def test_a_drained_replica_ends_what_it_has_and_takes_no_more(scene: Scene, world: World) -> None:
    assert scene.served_by() == "a"
    with Wire(scene.gateway.port, scene.key) as wire:
        wire.ask(chat(fault="slow,gate=g", stream=True))
        wire.read_to(b" A")
        assert scene.command("replicas", "drain", "a") == "a drained, 1 call still running there\n"
        assert scene.served_by() == "b"
        listed = scene.command("replicas", "list").splitlines()
        assert listed[1].split()[:4] == ["a", "kimi-k2", "draining", "1"]
        assert listed[2].split()[:4] == ["b", "kimi-k2", "ready", "0"]
        world.a.release("g")
        wire.read_to(b"data: [DONE]\n\n")
    changed = {
        **scene.settings,
        "models": [model("kimi-k2", replica("a", world.a, max_concurrent=3), replica("b", world.b))],
    }
    scene.gateway.write(changed)
    scene.gateway.send_signal(signal.SIGHUP)
    scene.gateway.wait_metric("moegate_replica_slots", 3, replica="a")
    scene.gateway.wait_metric("moegate_replica_state", 1, replica="a", state="draining")
    assert scene.served_by() == "b"
    assert scene.command("replicas", "resume", "a") == "a resumed, it is ready\n"
    assert scene.served_by() == "a"


def test_what_goes_wrong_is_said_in_a_line(scene: Scene, tmp_path: Path) -> None:
    assert scene.command("replicas", "drain", "nobody", status=1) == "moegate: There is no replica 'nobody'.\n"
    nowhere = moegate("replicas", "list", "--url", "http://127.0.0.1:9", "--key", "x", folder=tmp_path)
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr == "moegate: no gateway answers at http://127.0.0.1:9 (ConnectError)\n"
    wrong = moegate("replicas", "list", "--url", scene.gateway.url, "--key", "x", folder=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "Traceback" not in wrong.stderr


def test_why_a_call_went_where_it_went(scene: Scene) -> None:
    answer = scene.http.post(CHAT, json=chat(fault="queue_full_503,only=a"))
    call_id = answer.headers["x-moegate-call-id"]
    lines = scene.command("why", call_id).splitlines()
    assert lines[0] == f"{call_id}: chat of kimi-k2, for ops (key admin)"
    assert lines[2] == "=> served by b at attempt 2; completed (status 200)"
    tried = lines[lines.index("WHAT WAS TRIED") + 2 :]
    assert [line.split()[:3] for line in tried] == [["1", "a", "openai_compatible"], ["2", "b", "openai_compatible"]]
    assert "said that it is overloaded" in tried[0]
    assert "127.0.0.1" not in "".join(lines)
    shown = json.loads(scene.command("why", call_id, "--json"))
    assert (shown["call_id"], shown["chosen"]) == (call_id, "b")
    unknown = scene.command("why", "0" * 32, status=1)
    assert unknown.startswith("moegate: There is no decision of such a call")


def test_the_sample_is_in_the_database_after_a_restart(scene: Scene, world: World, tmp_path: Path) -> None:
    with gateway_process(scene.settings, tmp_path) as other, client_for(other, scene.key) as http:
        poll(lambda: http.get("/admin/v1/replicas").is_success, "it has read the keys")
        call_id = http.post(CHAT, json=chat()).headers["x-moegate-call-id"]
    answer = scene.http.get(f"/admin/v1/decisions/{call_id}")  # by a gateway that never saw it
    assert (answer.status_code, answer.json()["chosen"]) == (200, "a")
