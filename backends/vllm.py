"""vLLM's OpenAI server: what it does otherwise than any OpenAI-compatible engine; starts no process."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

import httpx

from backends.openai_compatible import OpenAICompatible
from gateway import Backend, BuildContext, Extension, NoSettings, Probe, Replica, ReplicaLoad, ReplicaState, hookimpl

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
# No NaN and no infinity: those are no count of requests.
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"


class VLLM(OpenAICompatible):
    """vLLM 0.10 and newer (`vllm/entrypoints/openai/api_server.py`)."""

    kind: ClassVar[str] = "vllm"
    # Answers 200 when the engine's process is alive, without a token being generated.
    probe_path: ClassVar[str] = "/health"

    async def probe(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """Health, and the load from the gauges of `/metrics`, which vLLM serves unless told not to."""
        found = await super().probe(client, replica)
        if found.state is not ReplicaState.READY:
            return found
        try:
            response = await client.get(replica.url + "/metrics")
        except httpx.HTTPError:
            return found
        text = response.text if response.status_code == httpx.codes.OK else ""
        return Probe(ReplicaState.READY, load=ReplicaLoad(_gauge(text, _RUNNING), _gauge(text, _WAITING)))


def _gauge(metrics: str, name: str) -> int | None:
    """The sum of one gauge over its engines; None where the text does not have it."""
    values = re.findall(rf"^{name}(?:\{{.*\}})? ({_NUMBER})(?: \d+)?$", metrics, re.MULTILINE)
    return int(sum(map(float, values))) if values else None


def _build(_: NoSettings, __: BuildContext) -> Backend:
    return VLLM()


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("vllm", NoSettings, _build)]
