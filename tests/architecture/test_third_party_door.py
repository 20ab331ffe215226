"""A stranger's package, installed beside moegate into an environment of its own, comes through the same door as ours."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.architecture.fresh_environment import ROOT, FreshEnvironment, build_wheel, environment_variables
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

SAMPLE = ROOT / "tests" / "support" / "sample_plugin"
READY_SECONDS = 60.0

CONFIG = """\
server: {{anonymous: true}}
models:
  - name: kimi-k2
    checkpoint: {{id: moonshotai/Kimi-K2-Instruct, context_length: 131072}}
    retries: {{longest_rest_seconds: 0}}
    replicas:
      - {{name: a, backend: sample_engine, url: "{url}", options: {{path: /v1/chat/completions}}}}
      - {{name: b, backend: sample_engine, url: "{url}", options: {{path: /v1/chat/completions}}}}
policies:
  routing: [{{use: sticky, by: user}}]
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    environment = FreshEnvironment(tmp_path_factory.mktemp("fresh"))
    wheels = [build_wheel(project, tmp_path_factory.mktemp("wheel")) for project in (ROOT, SAMPLE)]
    environment.install(*wheels)
    return environment


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def config(fresh: FreshEnvironment, engine: ScriptedEngine) -> Path:
    file = fresh.folder / "moegate.yaml"
    file.write_text(CONFIG.format(url=engine.url))
    return file


@pytest.fixture(scope="module")
def client(fresh: FreshEnvironment, config: Path) -> Iterator[httpx.Client]:
    """Asks a gateway that `moegate serve` runs in the fresh environment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    argv = [str(fresh.bin / "moegate"), "serve", "-c", str(config), "--port", str(port), "--log-format", "json"]
    gateway = subprocess.Popen(argv, cwd=fresh.folder, env=environment_variables(), stderr=subprocess.PIPE)
    try:
        wait_until_ready(gateway, replicas=2)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        gateway.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            gateway.wait(20)
        gateway.kill()
        gateway.communicate()


def wait_until_ready(gateway: subprocess.Popen[bytes], replicas: int) -> None:
    """Read the log until so many replicas have been found ready."""
    assert gateway.stderr is not None
    log = b""
    with selectors.DefaultSelector() as selector:
        selector.register(gateway.stderr, selectors.EVENT_READ)
        while log.count(b'"state": "ready"') < replicas:
            assert selector.select(READY_SECONDS), log.decode()
            said = os.read(gateway.stderr.fileno(), 65_536)
            assert said, log.decode()
            log += said


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": "kimi-k2", "messages": [{"role": "user", "content": "hi"}], **fields}
    return client.post("/v1/chat/completions", json=body)


def test_moegate_is_the_wheel_and_not_the_repository(fresh: FreshEnvironment) -> None:
    for package in ("gateway", "backends", "policies", "plugins", "moegate_sample"):
        home = Path(fresh.python(f"import {package}; print({package}.__file__)"))
        assert home.is_relative_to(fresh.folder / "venv")
    assert fresh.python("import importlib.util as u; print(u.find_spec('tests'))") == "None"


def test_the_wheel_holds_four_packages_and_nothing_else(fresh: FreshEnvironment) -> None:
    listed = fresh.python(
        "import importlib.metadata as m; print(*{f.parts[0] for f in m.files('moegate') if f.suffix != '.pyc'})"
    )
    own = {name for name in listed.split() if "dist-info" not in name and name != ".."}
    assert own == {"gateway", "backends", "policies", "plugins"}


def test_the_plugin_is_listed_with_its_name_and_version(fresh: FreshEnvironment) -> None:
    listed = json.loads(fresh.moegate("plugins", "--json"))
    theirs = {entry["kind"]: entry for entry in listed if entry["plugin"] == "sample"}
    assert {kind: entry["name"] for kind, entry in theirs.items()} == {
        "backends": "sample_engine",
        "routing_policies": "sticky",
    }
    assert {entry["version"] for entry in theirs.values()} == {"0.3.0"}
    settings = theirs["routing_policies"]["settings"]
    assert settings["$defs"]["StickySettings"]["properties"]["by"]["enum"] == ["key", "tenant", "user"]
    assert {"vllm", "least_loaded", "api_keys"} <= {entry["name"] for entry in listed}


def test_a_configuration_that_uses_it_is_good(fresh: FreshEnvironment, config: Path) -> None:
    said = fresh.moegate("check", "-c", str(config))
    assert said.startswith("ok: ")
    assert "replica a: sample_engine" in said
    assert "routing: sticky" in said


def test_its_backend_speaks_to_an_engine(client: httpx.Client, engine: ScriptedEngine) -> None:
    answer = ask(client, max_tokens=3)
    assert answer.status_code == 200
    assert answer.headers["x-moegate-backend"] == "sample_engine"
    assert answer.json()["choices"][0]["message"]["role"] == "assistant"
    assert engine.last_json()["max_tokens"] == 3


def test_its_meter_lets_a_stream_through(client: httpx.Client) -> None:
    answer = ask(client, stream=True, max_tokens=3)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")


def test_its_backend_reads_the_engine_s_errors(client: httpx.Client) -> None:
    answer = ask(client, user="[[fault:error_400]]")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "upstream_refused"
    full = ask(client, user="[[fault:queue_full_in_200]]", stream=True)
    assert (full.status_code, full.headers["x-moegate-attempts"]) == (503, "2")


def test_its_policy_decides(client: httpx.Client) -> None:
    replicas = {user: {ask(client, user=user).headers["x-moegate-replica"] for _ in range(2)} for user in "abcdefgh"}
    assert all(len(names) == 1 for names in replicas.values())
    assert {name for names in replicas.values() for name in names} == {"a", "b"}
