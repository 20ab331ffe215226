"""Two vLLMs that have a prefix cache and publish its events, and a gateway before them that routes by one list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.engines.vllm_process import CONTEXT_LENGTH, VllmServer, vllm_server
from tests.support.gateway_process import FORGETFUL, GatewayProcess, Json, free_port, gateway_process

MODEL = Path(__file__).resolve().parents[3] / "deploy" / "lab" / "k2-tiny"
KEY = "mg-0123456789ab-" + "k" * 43
# vLLM has no prefix cache for multi-head latent attention on a CPU (platforms/cpu.py): the same weights, read as plain heads.
ENVIRONMENT = {"VLLM_MLA_DISABLE": "1", "VLLM_SERVER_DEV_MODE": "1"}
BLOCK_TOKENS = 32
BYTES_A_TOKEN = 12_336
TOPIC = "kv"

DEFAULT: list[Json] = [{"use": name} for name in ("pin", "context_fit", "predicted_ttft", "prefix_affinity")]
LISTS: dict[str, list[Json]] = {
    "round_robin": [{"use": "round_robin"}],
    "least_loaded": [{"use": "least_loaded"}],
    "least_loaded, prefix_affinity": [{"use": "least_loaded"}, {"use": "prefix_affinity"}],
    "the default list": DEFAULT,
}
PRECISE = "the default list, KV events"


@dataclass(frozen=True)
class Counts:
    """What the engines counted of prompts: tokens that were looked for in the cache, and those found, by engine."""

    asked: tuple[float, ...]
    found: tuple[float, ...]

    def since(self, before: Counts) -> Counts:
        """What was counted since then."""
        return Counts(
            tuple(now - then for now, then in zip(self.asked, before.asked, strict=True)),
            tuple(now - then for now, then in zip(self.found, before.found, strict=True)),
        )

    @property
    def hit_share(self) -> float:
        """Of all engines together."""
        return sum(self.found) / sum(self.asked)


class Engine:
    """A vLLM with the ports of its events."""

    def __init__(self, server: VllmServer, port: int, replay_port: int) -> None:
        self.server = server
        self.ports: Json = {"port": port, "replay_port": replay_port, "topic": TOPIC}

    def forget(self) -> None:
        """Empty its prefix cache; nobody is told but by its KV events."""
        httpx.post(f"{self.server.url}/reset_prefix_cache", trust_env=False).raise_for_status()

    def ask(self, text: str) -> None:
        """One short answer, past any gateway."""
        body = {"model": "kimi-k2", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}
        url = f"{self.server.url}/v1/chat/completions"
        httpx.post(url, json=body, timeout=60, trust_env=False).raise_for_status()

    def counter(self, name: str) -> float:
        """One of its own counters."""
        text = httpx.get(f"{self.server.url}/metrics", trust_env=False).text
        return sum(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"vllm:{name}_total")
        )


@contextmanager
def engines(folder: Path, cache_tokens: int) -> Iterator[list[Engine]]:
    """Two of them, each with so large a cache."""
    with ExitStack() as stack:
        made = []
        for name in "ab":
            place = folder / name
            place.mkdir(parents=True)
            port, replay_port = free_port(), free_port()
            events = (
                f'{{"enable_kv_cache_events":true,"publisher":"zmq","topic":"{TOPIC}",'
                f'"endpoint":"tcp://*:{port}","replay_endpoint":"tcp://*:{replay_port}"}}'
            )
            flags = [
                "--enable-prefix-caching", f"--block-size={BLOCK_TOKENS}", f"--max-model-len={min(cache_tokens, CONTEXT_LENGTH)}",
                f"--kv-cache-memory-bytes={cache_tokens * BYTES_A_TOKEN}", f"--kv-events-config={events}",
            ]  # fmt: skip
            server = stack.enter_context(vllm_server(MODEL, place, flags=flags, environment=ENVIRONMENT))
            made.append(Engine(server, port, replay_port))
        yield made


def routing(name: str, pair: Sequence[Engine]) -> list[Json]:
    """The policies of a list."""
    if name != PRECISE:
        return LISTS[name]
    ports = {each: engine.ports for each, engine in zip("ab", pair, strict=True)}
    return [*DEFAULT[:-1], {**DEFAULT[-1], "kv_events": {"replicas": ports}}]


@contextmanager
def gateway(pair: Sequence[Engine], name: str, folder: Path) -> Iterator[GatewayProcess]:
    """A gateway that routes by one of the lists."""
    folder.mkdir(parents=True)
    replicas = [
        {"name": each, "backend": "vllm", "url": engine.server.url, "max_concurrent": 16}
        for each, engine in zip("ab", pair, strict=True)
    ]
    checkpoint = {"id": "moegate/k2-tiny", "licence": "mit", "context_length": CONTEXT_LENGTH}
    model: Json = {
        "name": "kimi-k2",
        "checkpoint": checkpoint,
        "tokenizer": str(MODEL),
        "replicas": replicas,
        **FORGETFUL,
    }
    config: Json = {
        "models": [model],
        "policies": {"routing": routing(name, pair)},
        "plugins": [
            {"use": "api_keys", "keys": [{"name": "test", "tenant": "test", "secret": KEY}]},
            {"use": "prometheus"},
        ],
    }
    with gateway_process(config, folder) as process:
        process.wait_at_rest()
        if name == PRECISE:
            for each in "ab":
                process.wait_metric("moegate_kv_events_mode", 1.0, replica=each, mode="precise")
        yield process


def counts(pair: Sequence[Engine]) -> Counts:
    """What the engines have counted until now."""
    return Counts(
        tuple(engine.counter("prefix_cache_queries") for engine in pair),
        tuple(engine.counter("prefix_cache_hits") for engine in pair),
    )
