"""One gateway with a scripted engine of every dialect behind it, for all cases; real engines are started elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.conformance.backends.case import Case, Need
from tests.conformance.backends.declarations import DECLARATIONS
from tests.conformance.backends.target import Target, clients
from tests.support.gateway_process import FORGETFUL, GatewayProcess, gateway_process
from tests.support.scripted_engine.dialects import DIALECTS
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

Json = dict[str, Any]

# Not the gateway's name for the model, so that whoever passes it on is seen.
ENGINE_MODEL = "engine-side-k2"
SHORT = {"connect_seconds": 1.0, "first_byte_seconds": 0.4, "idle_seconds": 0.4}
CHECKPOINT = {"id": "moegate/k2-tiny", "licence": "mit", "context_length": 32_768}
TIMEOUT_SECONDS = 20.0
GIVES = frozenset({Need.DOOR, Need.RUNNING, Need.THINKING, Need.SEED})
# What is in the names of cases whose engine refuses connections for a moment.
UNSETTLING = ("refuses", "closes", "drain", "another_replica")
ENGINES: Sequence[str] = tuple(DIALECTS)
KEY = "mg-0123456789ab-" + "k" * 43


def models(name: str, url: str, spare_url: str) -> list[Json]:
    """The models with one engine behind them: as it is, and as some cases need it configured."""

    def replica(suffix: str) -> Json:
        return {"name": f"{name}-{suffix}", "backend": name, "url": url, "served_model": ENGINE_MODEL}

    spare = {"name": f"spare-{name}", "backend": "vllm", "url": spare_url, "served_model": ENGINE_MODEL}
    plain = {"name": f"on-{name}", "aliases": [f"alias-of-{name}"], "replicas": [replica("plain")]}
    variants = variants_of(name)
    return [
        {"checkpoint": CHECKPOINT, **FORGETFUL, **each}
        for each in (
            plain,
            {"name": variants["pair"], "replicas": [replica("first"), spare]},
            {"name": variants["hasty"], "replicas": [replica("hasty")], "timeouts": SHORT},
            {
                "name": variants["both names"],
                "replicas": [replica("both")],
                "reasoning_fields": ["reasoning_content", "reasoning"],
            },
            {
                "name": variants["defaults"],
                "replicas": [replica("defaults")],
                "defaults": {"temperature": 0.6, "top_p": 0.95},
            },
        )
    ]


def variants_of(name: str) -> dict[str, str]:
    """The names of an engine's models that are configured for a purpose."""
    purposes = {"pair": "pair", "hasty": "hasty", "both names": "both", "defaults": "defaults"}
    return {purpose: f"{word}-of-{name}" for purpose, word in purposes.items()}


def config(engines: dict[str, ScriptedEngine], spare: ScriptedEngine) -> Json:
    """The gateway's configuration. Replicas are tried in the order in which they stand."""
    return {
        "models": [model for name, engine in engines.items() for model in models(name, engine.url, spare.url)],
        "policies": {"admission": [{"use": "concurrency_limit", "per_key": 1000}], "routing": [{"use": "context_fit"}]},
        "plugins": [
            {"use": "api_keys", "keys": [{"name": "demo", "tenant": "demo", "secret": KEY}]},
            {"use": "prometheus"},
        ],
    }


@contextmanager
def scripted_targets(folder: Path, names: Sequence[str] = ENGINES) -> Iterator[dict[str, Target]]:
    """A target for each of the dialects, all behind one gateway."""
    with ExitStack() as running:

        def start(name: str, dialect: str) -> ScriptedEngine:
            options = ("--dialect", dialect, "--lifelike", "--model", ENGINE_MODEL)
            return running.enter_context(scripted_engine(*options, name=name))

        engines = {name: start(name, name) for name in names}
        gateway = running.enter_context(gateway_process(config(engines, start("spare", "vllm")), folder))
        gateway.wait_at_rest()
        asking = running.enter_context(clients(gateway.url, KEY, TIMEOUT_SECONDS))
        yield {name: _target(name, engine, gateway, asking) for name, engine in engines.items()}


def _target(name: str, engine: ScriptedEngine, gateway: GatewayProcess, asking: Any) -> Target:
    return Target(
        engine=name,
        model=f"on-{name}",
        aliases=(f"alias-of-{name}",),
        clients=asking,
        declaration=DECLARATIONS[name],
        variants=variants_of(name),
        door=engine,
        running=lambda: float(engine.state()["running"]),
        gives=GIVES,
        begin=Beginning(engine, gateway),
    )


class Beginning:
    """Before a case: the engine without a past, and its replicas ready again where the case before took one away."""

    def __init__(self, engine: ScriptedEngine, gateway: GatewayProcess) -> None:
        self._engine = engine
        self._gateway = gateway
        self._unsettled = False

    def __call__(self, case: Case) -> None:
        self._engine.reset()
        if self._unsettled:  # only then, because to look costs more than most cases
            self._gateway.wait_at_rest()
            self._engine.reset()
        self._unsettled = any(word in case.name for word in UNSETTLING)
