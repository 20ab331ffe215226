"""The gateway's side of our reference engine: how to speak to it and how to start it; holds no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import httpx
from msgspec import Meta

import backends
from backends import dialects
from backends.environments import engine_python
from backends.openai_compatible import EngineSettings, OpenAICompatible
from backends.probing import count, fetch_gauges
from gateway import (
    Backend,
    BuildContext,
    Capability,
    Extension,
    Fact,
    FactName,
    Introspection,
    Launcher,
    LaunchPlan,
    LaunchSettings,
    Operation,
    Probe,
    Replica,
    ReplicaLoad,
    ReplicaState,
    hookimpl,
)
from gateway.errors import ConfigError

HOST = "127.0.0.1"

_RUNNING = "moegate_reference_engine_requests_running"
_WAITING = "moegate_reference_engine_requests_waiting"


class TorchReferenceLaunch(LaunchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine's own settings. `threads` are PyTorch's; more than one pays only on a machine with cores to spare."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: Annotated[int, Meta(ge=1)] = 1


class TorchReferenceLauncher:
    """Starts the engine in its own environment, with our code on its path and nothing of the gateway's loaded."""

    settings: type[LaunchSettings] = TorchReferenceLaunch

    def plan(self, launch: TorchReferenceLaunch, *, served_model: str, max_concurrent: int) -> LaunchPlan:
        """Return what to run.

        Raises:
            ConfigError: the environment or the model folder is missing.
        """
        if not (launch.model / "config.json").is_file():
            raise ConfigError(f"{launch.model} holds no model: there is no config.json in it")
        argv = [
            str(engine_python("torch-reference")),
            *("-P", "-m", "backends.torch_reference.engine"),
            *("--model", str(launch.model.resolve())),
            *("--served-model-name", served_model),
            *("--host", HOST, "--port", str(launch.port)),
            *("--max-concurrent", str(max_concurrent)),
            *("--dtype", launch.dtype),
            *("--threads", str(launch.threads)),
        ]
        root = Path(backends.__path__[0]).parent
        return LaunchPlan(tuple(argv), {"PYTHONPATH": str(root)}, f"http://{HOST}:{launch.port}")


class TorchReference(OpenAICompatible):
    """Our engine, written to the same API."""

    kind: ClassVar[str] = "torch_reference"
    served: ClassVar[frozenset[Operation]] = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.TOKENIZE})
    can: ClassVar[frozenset[Capability]] = frozenset({Capability.TOOLS, Capability.LOGPROBS})
    dialect: ClassVar[dialects.Dialect] = dialects.TORCH_REFERENCE
    launcher: ClassVar[Launcher | None] = TorchReferenceLauncher()
    probe_path: ClassVar[str] = "/health"
    introspection: ClassVar[Introspection] = Introspection(
        facts=(Fact(FactName.VERSION, "/version", "version"), Fact(FactName.PRECISION, "/version", "dtype")),
        answer_fields={"return_token_ids": True},
        tokenizes_chats=True,
        is_reference=True,
    )

    async def look_at_load(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """The gauges of `/metrics`."""
        gauges = await fetch_gauges(client, replica.url + "/metrics", (_RUNNING, _WAITING))
        return Probe(ReplicaState.READY, load=ReplicaLoad(count(gauges, _RUNNING), count(gauges, _WAITING)))


def _build(settings: EngineSettings, _: BuildContext) -> Backend:
    return TorchReference(settings)


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("torch_reference", EngineSettings, _build)]
