"""The commands beside `serve`: what they print, how they end, and that they print no secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.contracts.keys import generate_key, parse_key
from tests.support.gateway_process import moegate

KEY = generate_key()
SECRET = KEY.split("-", 2)[2]

GOOD = """
server: {port: "${MOEGATE_TEST_PORT:-8080}"}
models:
  - name: kimi-k2
    aliases: [kimi-latest]
    checkpoint: {id: moonshotai/Kimi-K2-Instruct, licence: kimi-k2, context_length: 131072}
    replicas:
      - {name: a, backend: vllm, url: "http://127.0.0.1:8031", max_concurrent: 256, api_key: very-private}
policies:
  admission: [{use: concurrency_limit, per_key: 64}]
  routing: [{use: context_fit}, {use: least_loaded}]
plugins: [{use: api_keys, keys: [{name: demo, tenant: demo, secret: "${MOEGATE_TEST_KEY}"}]}, {use: prometheus}]
"""

BAD = """
server: {host: 127.0.0.1, prt: 8080}
models:
  - name: kimi-k2
    aliases: [kimi-k2]
    checkpoint: {id: a, context_length: 12}
    replicas: []
  - name: kimi-k3
    checkpoint: {id: a, context_length: 12}
    replicas:
      - {name: a, backend: vlm, url: "http://127.0.0.1:1", api_key: very-private}
      - {name: b, backend: vllm, url: "http://127.0.0.1:1", max_concurent: 256}
      - {name: b, backend: vllm, max_concurrent: 0}
      - {name: c, backend: vllm, url: "http://u:very-private@127.0.0.1"}
  - name: kimi-k4
    checkpoint: {id: a, context_length: "very-private"}
    replicas: []
policies:
  admission: [{use: concurency_limit, per_key: 64}, {use: concurrency_limit, per_key: 0}]
  routing: [{use: least_loadd}]
plugins:
  - {use: api_keys, keys: [{name: demo, tenant: demo, secret: "mg-very-private"}, {name: n, tenant: t, secret: 5}]}
  - {use: promtheus}
  - {use: api_keys, keys: [{name: x, tenant: "${MOEGATE_TEST_MISSING}", secret: "${MOEGATE_TEST_KEY}"}]}
"""

FOUND = [
    r"^server\.prt: unknown setting; did you mean 'port'\?",
    r"^models\[0\]\.aliases\[0\]: 'kimi-k2' is the name of another model",
    r"^models\[2\]\.checkpoint\.context_length: expected a whole number, got text",
    r"^models\[0\]\.replicas: .*",
    r"^models\[1\]\.replicas\[0\]\.backend: nothing is registered as 'vlm' .*'vllm'",
    r"^models\[1\]\.replicas\[1\]\.max_concurent: unknown setting; did you mean 'max_concurrent'",
    r"^models\[1\]\.replicas\[2\]\.max_concurrent: ",
    r"^models\[1\]\.replicas\[2\]\.name: 'b' is the name of another replica",
    r"^models\[1\]\.replicas\[3\]\.url: the URL must not hold credentials",
    r"^policies\.admission\[0\]\.use: .*'concurrency_limit'",
    r"^policies\.admission\[1\]\.per_key: ",
    r"^policies\.routing\[0\]\.use: .*'least_loaded'",
    r"^plugins\[0\]\.keys\[1\]\.secret: expected text, got a whole number",
    r"^plugins\[1\]\.use: no plugin is registered as 'promtheus'; did you mean 'prometheus'",
    r"^plugins\[2\]\.use: 'api_keys' stands twice",
    r"^plugins\[2\]\.keys\[0\]\.tenant: environment variable MOEGATE_TEST_MISSING is not set",
]


def check(folder: Path, text: str) -> tuple[int, str]:
    """`moegate check` on a file: the exit status, and all that was printed."""
    file = folder / "moegate.yaml"
    file.write_text(text)
    ended = moegate("check", "--config", str(file), folder=folder, environment={"MOEGATE_TEST_KEY": KEY})
    assert "Traceback" not in ended.stderr
    assert "very-private" not in ended.stdout + ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


def test_check_of_a_good_file(tmp_path: Path) -> None:
    status, text = check(tmp_path, GOOD)
    assert status == 0
    assert text.splitlines()[0] == "ok: would listen on 127.0.0.1:8080"
    assert "model kimi-k2, kimi-latest: moonshotai/Kimi-K2-Instruct, licence kimi-k2" in text
    assert "admission: concurrency_limit" in text
    assert "routing: context_fit, least_loaded" in text


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What check says of a file with many faults, a line each."""
    status, text = check(tmp_path_factory.mktemp("bad"), BAD)
    assert status == 2
    return text.splitlines()


@pytest.mark.parametrize("pattern", FOUND)
def test_check_finds_every_fault(bad: list[str], pattern: str) -> None:
    assert [line for line in bad if re.match(pattern, line)], "\n".join(bad)


def test_check_names_the_lines(bad: list[str]) -> None:
    lines = BAD.splitlines()
    typo = next(line for line in bad if "'port'" in line)
    assert typo.endswith(f"(line {lines.index('server: {host: 127.0.0.1, prt: 8080}') + 1})")


def test_check_of_a_file_that_nests_without_end(tmp_path: Path) -> None:
    status, printed = check(tmp_path, "[" * 1000)
    assert status == 2
    assert "nested" in printed


def test_plugins_as_json(tmp_path: Path) -> None:
    ended = moegate("plugins", "--json", folder=tmp_path)
    assert ended.returncode == 0
    listed = {(entry["kind"], entry["name"]): entry for entry in json.loads(ended.stdout)}
    assert ("backends", "vllm") in listed
    assert ("routing_policies", "least_loaded") in listed
    limit = listed["admission_policies", "concurrency_limit"]
    assert "per_key" in json.dumps(limit["settings"])
    assert re.match(r"\d+\.\d+", limit["version"])


def test_schema_is_json(tmp_path: Path) -> None:
    ended = moegate("schema", folder=tmp_path)
    assert ended.returncode == 0
    assert "max_body_bytes" in json.dumps(json.loads(ended.stdout))


def test_a_generated_key_stays_in_its_private_file(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "key"
    key = moegate("keys", "generate", "--file", str(file), folder=tmp_path).stdout.strip()
    assert parse_key(key) is not None
    assert key == file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
