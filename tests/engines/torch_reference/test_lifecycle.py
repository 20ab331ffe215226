"""Beginnings and ends: of the process, and of requests whose clients leave."""

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.engines.torch_reference.engine_process import (
    MODEL_NAME,
    START_SECONDS,
    Engine,
    engine_command,
    environment,
    eventually,
    running_engine,
)

# Long enough to be still running whatever a test does meanwhile.
ENDLESS: dict[str, Any] = {"model": MODEL_NAME, "prompt": "the", "max_tokens": 4000, "ignore_eos": True}
SHORT: dict[str, Any] = {"model": MODEL_NAME, "prompt": "the", "max_tokens": 2}


@pytest.fixture(scope="module")
def small_engine(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    options = ("--max-concurrent", "2", "--max-waiting", "1")
    with running_engine(random_checkpoint, *options, folder=tmp_path_factory.mktemp("small-engine")) as engine:
        yield engine


class Caller:
    """A client on a socket of its own, so that it can leave whenever it likes."""

    def __init__(self, engine: Engine, body: dict[str, Any], path: str = "/v1/completions") -> None:
        address = urlsplit(engine.url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=60)
        payload = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: engine\r\ncontent-length: {len(payload)}\r\n\r\n"
        self.socket.sendall(head.encode() + payload)

    def wait_for(self, wanted: bytes) -> bytes:
        received = b""
        while wanted not in received:
            more = self.socket.recv(65536)
            assert more, f"closed after {received!r}"
            received += more
        return received

    def leave(self) -> None:
        self.socket.close()


def is_idle(engine: Engine) -> bool:
    return engine.metric("requests_running") == 0 and engine.metric("requests_waiting") == 0


def outcomes(engine: Engine) -> dict[str, int]:
    text = engine.http.get("/metrics").text
    prefix = 'moegate_reference_engine_requests_total{outcome="'
    lines = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
    return {line.split('"')[0]: int(line.rsplit(" ", 1)[1]) for line in lines}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_a_client_that_leaves_frees_its_slots(small_engine: Engine, stream: bool, count: int) -> None:
    before = outcomes(small_engine)["disconnected"]
    caller = Caller(small_engine, ENDLESS | {"stream": stream, "n": count})
    if stream:
        caller.wait_for(b"data: ")
    eventually(lambda: small_engine.metric("requests_running") == count)
    caller.leave()
    eventually(lambda: is_idle(small_engine), what="freeing the slot")
    generated = small_engine.metric("generation_tokens_total")
    eventually(lambda: outcomes(small_engine)["disconnected"] == before + 1)
    assert small_engine.metric("generation_tokens_total") == generated
    assert small_engine.http.post("/v1/completions", json=SHORT).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_the_queue_is_forgotten(small_engine: Engine, stream: bool) -> None:
    before = small_engine.metric("prompt_tokens_total")
    running = [Caller(small_engine, ENDLESS) for _ in range(2)]
    # Both have read their prompts of one token.
    eventually(lambda: small_engine.metric("prompt_tokens_total") == before + 2)
    queued = Caller(small_engine, ENDLESS | {"stream": stream})
    eventually(lambda: small_engine.metric("requests_waiting") == 1)
    queued.leave()
    eventually(lambda: small_engine.metric("requests_waiting") == 0)
    assert small_engine.metric("requests_running") == 2
    for caller in running:
        caller.leave()
    eventually(lambda: is_idle(small_engine))
    assert small_engine.metric("prompt_tokens_total") == before + 2


@pytest.mark.parametrize("stream", [True, False])
def test_a_full_queue_says_so_and_when_to_come_again(small_engine: Engine, stream: bool) -> None:
    callers = [Caller(small_engine, ENDLESS) for _ in range(2)]
    eventually(lambda: small_engine.metric("requests_running") == 2)
    callers.append(Caller(small_engine, ENDLESS))
    eventually(lambda: small_engine.metric("requests_waiting") == 1)
    reply = small_engine.http.post("/v1/completions", json=SHORT | {"stream": stream})
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.json()["error"]["code"] == "queue_full"
    assert small_engine.http.get("/health").status_code == 200
    for caller in callers:
        caller.leave()
    eventually(lambda: is_idle(small_engine))
    assert small_engine.http.post("/v1/completions", json=SHORT).status_code == 200


def test_many_clients_that_leave_leave_nothing_behind(small_engine: Engine) -> None:
    process = psutil.Process(small_engine.process.pid)
    for _ in range(20):
        caller = Caller(small_engine, ENDLESS | {"stream": True})
        caller.wait_for(b"data: ")
        caller.leave()
    eventually(lambda: is_idle(small_engine))
    eventually(lambda: len([c for c in process.net_connections() if c.status == psutil.CONN_ESTABLISHED]) <= 2)


def test_what_the_engine_says_about_itself(small_engine: Engine) -> None:
    get = small_engine.http.get
    assert get("/health").json() == {"status": "ok"}
    card = get("/v1/models").json()["data"][0]
    assert card["id"] == MODEL_NAME
    assert card["max_model_len"] == card["context_length"] == 4096
    assert "root" not in card
    assert small_engine.client.models.list().data[0].id == MODEL_NAME
    version = get("/version").json()
    assert version["engine"] == "torch_reference"
    assert version["torch"].startswith("2.13.0")
    text = get("/metrics").text
    assert small_engine.metric("slots") == 2
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or float(line.rsplit(" ", 1)[1]) >= 0


def test_counters_count(small_engine: Engine) -> None:
    before = {name: small_engine.metric(name) for name in ("prompt_tokens_total", "generation_tokens_total")}
    completed = outcomes(small_engine)["completed"]
    usage = small_engine.complete("the quick", max_tokens=5, extra_body={"ignore_eos": True}).usage
    assert small_engine.metric("prompt_tokens_total") - before["prompt_tokens_total"] == usage.prompt_tokens == 2
    assert small_engine.metric("generation_tokens_total") - before["generation_tokens_total"] == 5
    eventually(lambda: outcomes(small_engine)["completed"] == completed + 1)
    refused = outcomes(small_engine)["refused"]
    small_engine.http.post("/v1/completions", json=SHORT | {"model": "other"})
    assert outcomes(small_engine)["refused"] == refused + 1


def test_an_ordered_stop_finishes_what_runs(random_checkpoint: Path, tmp_path: Path) -> None:
    with running_engine(random_checkpoint, "--context-length", "512", folder=tmp_path) as engine:
        assert engine.http.get("/v1/models").json()["data"][0]["max_model_len"] == 512
        replies: list[httpx.Response] = []
        body = SHORT | {"max_tokens": 60, "ignore_eos": True}
        caller = threading.Thread(
            target=lambda: replies.append(httpx.post(f"{engine.url}/v1/completions", json=body, timeout=60))
        )
        caller.start()
        eventually(lambda: engine.metric("requests_running") == 1)
        assert engine.stop() == 0
        caller.join(60)
        assert replies[0].json()["usage"]["completion_tokens"] == 60


def test_a_second_signal_stops_at_once(random_checkpoint: Path, tmp_path: Path) -> None:
    with running_engine(random_checkpoint, "--grace-seconds", "60", folder=tmp_path) as engine:
        caller = Caller(engine, ENDLESS | {"stream": True})
        caller.wait_for(b"data: ")
        engine.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listens(engine))
        assert engine.process.poll() is None
        assert engine.stop() == 128 + signal.SIGTERM
        caller.leave()


def test_grace_has_an_end(random_checkpoint: Path, tmp_path: Path) -> None:
    with running_engine(random_checkpoint, "--grace-seconds", "1", folder=tmp_path) as engine:
        caller = Caller(engine, ENDLESS | {"stream": True})
        caller.wait_for(b"data: ")
        assert engine.stop() == 0
        caller.leave()


def listens(engine: Engine) -> bool:
    address = urlsplit(engine.url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    except OSError:
        return False
    return True


def start_failing(model: Path, *options: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines on standard error of an engine that cannot start."""
    command, patience = engine_command(model, *options), START_SECONDS
    finished = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=patience, check=False)
    assert finished.stdout == ""
    return finished.returncode, finished.stderr.splitlines()


def test_a_taken_port_is_one_clear_line(random_checkpoint: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, lines = start_failing(random_checkpoint, "--port", port)
    assert status == 1
    assert lines == [f"torch_reference: cannot use 127.0.0.1:{port}: Address already in use"]


def test_a_folder_that_is_no_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        status, lines = start_failing(folder)
        assert status == 1
        assert len(lines) == 1
        assert lines[0].startswith("torch_reference: cannot load the model: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "architectures do not include DeepseekV3ForCausalLM"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised checkpoints are not supported"),
        ({"num_hidden_layers": 4}, "missing_keys"),
        ({"hidden_size": 128}, "mismatched_keys"),
    ],
)
def test_a_checkpoint_that_would_not_be_exact_is_refused(
    random_checkpoint: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    for file in random_checkpoint.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((random_checkpoint / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    status, lines = start_failing(tmp_path)
    assert status == 1
    assert said in lines[0]
    assert len(lines) == 1


def test_bad_arguments_are_refused_before_anything_is_loaded(random_checkpoint: Path) -> None:
    assert start_failing(random_checkpoint, "--max-concurrent", "0")[0] == 2
    assert start_failing(random_checkpoint, "--dtype", "int4")[0] == 2
    status, lines = start_failing(random_checkpoint, "--context-length", "5000")
    assert status == 1
    assert lines == ["torch_reference: --context-length 5000 is more than the model's own 4096"]


def test_kimis_own_model_type_is_understood(random_checkpoint: Path, tmp_path: Path) -> None:
    for file in random_checkpoint.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((random_checkpoint / "config.json").read_text()) | {"model_type": "kimi_k2"}
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with running_engine(tmp_path, "--dtype", "bfloat16", folder=tmp_path) as engine:
        assert engine.http.get("/version").json()["dtype"] == "bfloat16"
        assert engine.complete("the quick", max_tokens=3, extra_body={"ignore_eos": True}).usage.completion_tokens == 3


def test_the_gateway_need_not_be_installed_beside_the_engine() -> None:
    """The engine's folder names no other package of ours."""
    import_lines = [
        line.split()[1]
        for file in (Path(__file__).parents[3] / "backends" / "torch_reference" / "engine").glob("*.py")
        for line in file.read_text().splitlines()
        if line.strip().startswith(("import ", "from "))
    ]
    ours = {name for name in import_lines if name.split(".")[0] in {"gateway", "backends", "policies", "plugins"}}
    assert all(name.startswith("backends.torch_reference.engine") for name in ours)
