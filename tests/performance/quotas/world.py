"""The processes of a proof: gateways that can be killed and started again, engines that keep account, Valkey, PostgreSQL."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tokenizers import Tokenizer, models, pre_tokenizers

from gateway.contracts.keys import generate_key
from tests.integration.configs import replica
from tests.performance.quotas.asking import FRAME_TOKENS
from tests.support.child import Child
from tests.support.gateway_process import COMMAND, START_SECONDS, free_port, moegate, write_config
from tests.support.postgres import PostgresDatabase, PostgresServer
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine
from tests.support.valkey import ValkeyServer, valkey_server

Json = dict[str, Any]

TENANT = "acme"
BUDGET = "tokens"
CALLS, STREAMS, REQUESTS = "calls-at-once", "streams-at-once", "requests"


class Node:
    """One gateway process, on its own port and in its own folder."""

    def __init__(self, number: int, config: Json, folder: Path, key: str) -> None:
        self.number = number
        self.port = free_port()
        self.folder = folder
        self._child: Child | None = None
        folder.mkdir()
        write_config(folder / "moegate.yaml", config, self.port)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
            verify=False,
            timeout=10,
        )

    @property
    def log(self) -> str:
        """All that it has logged, in all of its lives."""
        return (self.folder / "log").read_text(errors="replace")

    def begin(self) -> None:
        """Start it, and do not wait."""
        self._child = Child([COMMAND, "serve", "-c", "moegate.yaml"], self.folder / "log", folder=self.folder)

    def wait(self) -> None:
        """Wait until it serves."""
        assert self._child is not None
        self._child.wait_for(self._serves, f"gateway {self.number}", START_SECONDS)

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.begin()
        self.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Have it end in good order."""
        self._end(signal.SIGTERM)

    def quota(self) -> dict[str, Json]:
        """What `GET /v1/quota` says, by the limits' names."""
        answer = self.http.get("/v1/quota")
        assert answer.status_code == 200, answer.text
        return {limit["name"]: limit for limit in answer.json()["limits"]}

    def _end(self, number: int) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end(number)

    def _serves(self) -> bool:
        with suppress(httpx.TransportError):
            return self.http.get("/readyz").is_success
        return False


@dataclass(frozen=True)
class World:
    """One run's processes."""

    nodes: Sequence[Node]
    engines: Sequence[ScriptedEngine]
    valkey: ValkeyServer
    database: PostgresDatabase
    key: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is made of.

    Attributes:
        limit: the tenant's budget, without name and dimension.
        token_ms, first_ms: of the engines: for each token, and before the first.
        exact: prompts are counted by a tokenizer; else estimated.
        lease_seconds: of the store.
        persistent: Valkey has all again when it is started after a crash.
    """

    limit: Json
    nodes: int = 4
    engines: int = 3
    token_ms: float = 10.0
    first_ms: float = 50.0
    exact: bool = True
    lease_seconds: float = 10.0
    persistent: bool = False


@contextmanager
def world(plan: Plan, server: PostgresServer) -> Iterator[World]:
    """Everything runs, on an empty database and an empty store; stopped with the block, in good order."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moegate-quotas-")))
        database = stack.enter_context(server.database())
        valkey = stack.enter_context(valkey_server(persistent=plan.persistent))
        options = ("--metered", "--chunk-interval-ms", str(plan.token_ms), "--first-chunk-ms", str(plan.first_ms))
        engines = [stack.enter_context(scripted_engine(*options, name=f"e{at}")) for at in range(plan.engines)]
        key = generate_key()
        config = _config(plan, engines, valkey, database, key)
        if plan.exact:
            config["models"][0]["tokenizer"] = str(tokenizer_folder(folder / "tokenizer"))
        nodes = [Node(number, config, folder / f"node-{number}", key) for number in range(plan.nodes)]
        done = moegate("db", "upgrade", "--config", "moegate.yaml", folder=nodes[0].folder)
        assert done.returncode == 0, done.stderr
        for node in nodes:
            stack.callback(node.http.close)
            stack.callback(node.kill)
            node.begin()
        for node in nodes:
            node.wait()
        yield World(nodes, engines, valkey, database, key)


def _config(
    plan: Plan, engines: Sequence[ScriptedEngine], valkey: ValkeyServer, database: PostgresDatabase, key: str
) -> Json:
    shared = {"per": ["tenant"]}
    limits = [
        {"name": BUDGET, "dimension": "total_tokens", **shared, **plan.limit},
        {"name": REQUESTS, "dimension": "requests", "amount": 10_000_000, **shared, **calendar()},
        {"name": CALLS, "dimension": "concurrent_calls", "amount": 10_000, **shared},
        {"name": STREAMS, "dimension": "concurrent_streams", "amount": 10_000, **shared},
    ]
    return {
        "database": database.url,
        "state": f"{valkey.url}?lease_seconds={plan.lease_seconds:g}",
        **gateway_config(engines, {TENANT: key}, {"use": "quotas", "limits": limits}, slots=1_000),
    }


def gateway_config(engines: Sequence[ScriptedEngine], keys: dict[str, str], policy: Json, *, slots: int) -> Json:
    """A gateway with one admission policy and the ledger; `slots` of each engine, `keys` by tenant."""
    checkpoint = {"id": "moonshotai/Kimi-K2-Instruct", "licence": "kimi-k2", "context_length": 131_072}
    replicas = [replica(engine.name, engine, max_concurrent=slots) for engine in engines]
    return {
        "models": [{"name": "kimi-k2", "checkpoint": checkpoint, "replicas": replicas}],
        "policies": {"admission": [policy], "routing": [{"use": "context_fit"}, {"use": "least_loaded"}]},
        "plugins": [
            {"use": "api_keys", "keys": [{"name": name, "tenant": name, "secret": key} for name, key in keys.items()]},
            {"use": "prometheus"},
            {"use": "ledger", "ship_seconds": 0.5, "min_free_bytes": 0, "stop_seconds": 20},
        ],
    }


def calendar() -> Json:
    """A day that does not end while the run lasts: in a zone where it is about noon."""
    ahead = 12 - time.gmtime().tm_hour
    return {"every": "day", "window": "calendar", "time_zone": f"Etc/GMT{-ahead:+d}" if ahead else "Etc/UTC"}


def tokenizer_folder(folder: Path) -> Path:
    """A tokenizer that counts as the metered engine does: words, and four more for each message."""
    folder.mkdir()
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    frame = "x " * FRAME_TOKENS
    template = f"{{% for message in messages %}}{frame}{{{{ message.content }}}} {{% endfor %}}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return folder
