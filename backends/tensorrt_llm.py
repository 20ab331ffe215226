"""TensorRT-LLM's `trtllm-serve`: what it does otherwise than any OpenAI-compatible engine; from its source, never run live."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import httpx
from msgspec import Raw

from backends import dialects
from backends.probing import count, fetch_gauges, mean_share
from backends.request_edit import RequestEdit, encode
from backends.shared_engine import SharedEngine, SharedEngineSettings
from gateway import (
    Backend,
    BuildContext,
    Capability,
    Extension,
    Fact,
    FactName,
    Introspection,
    Operation,
    Probe,
    Replica,
    ReplicaLoad,
    ReplicaState,
    hookimpl,
)

_RUNNING = "trtllm_num_requests_running"
_WAITING = "trtllm_num_requests_waiting"
_KV_USE = "trtllm_kv_cache_utilization"
_HIT_RATE = "trtllm_kv_cache_hit_rate"
_WANTED = frozenset({_RUNNING, _WAITING, _KV_USE, _HIT_RATE})

_PRIORITISED = frozenset({Operation.CHAT, Operation.COMPLETIONS})


class TensorRTLLM(SharedEngine):
    """TensorRT-LLM with the PyTorch backend (`tensorrt_llm/serve/openai_server.py`)."""

    kind: ClassVar[str] = "tensorrt_llm"
    # Newer servers also take messages: say so with `operations`.
    served: ClassVar[frozenset[Operation]] = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES})
    can: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS, Capability.REASONING}
    )
    salted: ClassVar[frozenset[Operation]] = frozenset({Operation.CHAT})
    dialect: ClassVar[dialects.Dialect] = dialects.TENSORRT_LLM
    introspection: ClassVar[Introspection] = Introspection(facts=(Fact(FactName.VERSION, "/version", "version"),))
    probe_path: ClassVar[str] = "/health"

    def add_own(self, edit: RequestEdit, replica: Replica, attempt_id: str) -> str | None:  # noqa: ARG002
        """Chat alone takes a salt. Priorities are shares: 1 is served first, 0.5 is ordinary."""
        call = edit.call
        self.salt(edit)
        if self.has_priority and call.priority and call.operation in _PRIORITISED:
            edit.put("priority", Raw(encode(0.5 + call.priority / (2 + 2 * abs(call.priority)))))
        return None

    async def look_at_load(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """`/prometheus/metrics`, which needs `return_perf_metrics`. Not `/metrics`: whoever reads that takes it from others."""
        gauges = await fetch_gauges(client, replica.url + "/prometheus/metrics", _WANTED)
        if not gauges:
            return Probe(ReplicaState.READY)
        load = ReplicaLoad(
            count(gauges, _RUNNING),
            count(gauges, _WAITING),
            mean_share(gauges, _KV_USE),
            mean_share(gauges, _HIT_RATE),
        )
        return Probe(ReplicaState.READY, load=load)


def _build(settings: SharedEngineSettings, _: BuildContext) -> Backend:
    return TensorRTLLM(settings)


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("tensorrt_llm", SharedEngineSettings, _build)]
