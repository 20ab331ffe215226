"""vLLM's OpenAI server: what it does otherwise than any OpenAI-compatible engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import httpx
import msgspec
from msgspec import Raw

from backends import dialects
from backends.judging import overloaded
from backends.launchers.vllm import VLLMLauncher
from backends.openai_errors import ErrorObject
from backends.probing import count, fetch, mean_share, ratio, read_gauges
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
    Launcher,
    Operation,
    Probe,
    Replica,
    ReplicaLoad,
    ReplicaState,
    hookimpl,
)
from gateway.errors import UpstreamError, UpstreamUnreachable

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_KV_USE = "vllm:kv_cache_usage_perc"
_QUERIES = "vllm:prefix_cache_queries_total"
_HITS = "vllm:prefix_cache_hits_total"
_WANTED = frozenset({_RUNNING, _WAITING, _KV_USE, _QUERIES, _HITS})
_ASLEEP = 'sleep_state="awake"} 0'

_GENERATING = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES})

# What Python's own executor says when the server shuts down, and what the API server says of a dead engine
# (v1/engine/exceptions.py). Both come with status 500.
_DRAINING = "cannot schedule new futures"
_DEAD = "EngineCore encountered an issue"


_PAUSED = msgspec.json.Decoder(dict[str, Any])


class VLLMSettings(SharedEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a replica's `options:` may say besides.

    Attributes:
        tells_pauses: it was started with VLLM_SERVER_DEV_MODE=1, so it can be paused, and is asked at each probe whether it is.
    """

    tells_pauses: bool = False


class VLLM(SharedEngine):
    """vLLM 0.10 and newer (`vllm/entrypoints/openai/api_server.py`)."""

    kind: ClassVar[str] = "vllm"
    served: ClassVar[frozenset[Operation]] = frozenset(Operation)
    can: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS, Capability.REASONING}
    )
    salted: ClassVar[frozenset[Operation]] = _GENERATING | {Operation.MESSAGES}
    dialect: ClassVar[dialects.Dialect] = dialects.VLLM
    reasoning_key: ClassVar[str | None] = "reasoning"
    launcher: ClassVar[Launcher | None] = VLLMLauncher()
    introspection: ClassVar[Introspection] = Introspection(
        facts=(
            Fact(FactName.VERSION, "/version", "version"),
            Fact(FactName.LOADED, "/v1/models", "data.0.root"),
        ),
        answer_fields={"return_token_ids": True},
        tokenizes_chats=True,
    )
    # Answers 200 when the engine's process is alive, without a token being generated.
    probe_path: ClassVar[str] = "/health"

    def __init__(self, settings: SharedEngineSettings | None = None) -> None:
        super().__init__(settings)
        self._tells_pauses = isinstance(settings, VLLMSettings) and settings.tells_pauses

    def add_own(self, edit: RequestEdit, replica: Replica, attempt_id: str) -> str | None:  # noqa: ARG002
        """A salt, and a priority of which lower ones are served first. Without `--scheduling-policy priority`, any is an error."""
        call = edit.call
        self.salt(edit)
        if self.has_priority and call.priority and call.operation in _GENERATING:
            edit.put("priority", Raw(encode(-call.priority)))
        return None

    def judge(self, status: int, found: ErrorObject) -> UpstreamError:
        """A server that shuts down, or whose engine died, says so with status 500."""
        if status == httpx.codes.INTERNAL_SERVER_ERROR:
            if _DRAINING in found.message:
                return overloaded(status, found)
            if _DEAD in found.message:
                return UpstreamUnreachable("the engine behind the server died")
        return super().judge(status, found)

    def read_unready(self, replica: Replica, body: bytes) -> Probe:  # noqa: ARG002 - it has none
        """Its port is open once its model is loaded: 503 is for an engine that died."""
        return Probe(ReplicaState.UNREACHABLE, "the engine behind the server died")

    async def look_at_load(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """The gauges of `/metrics`, which vLLM serves unless told not to; before that, whether it is paused."""
        if self._tells_pauses and await _is_paused(client, replica.url):
            return Probe(ReplicaState.PAUSED, "the engine is paused")
        page = await fetch(client, replica.url + "/metrics")
        if page is None:
            return Probe(ReplicaState.READY)
        text = page.decode(errors="replace")
        if _ASLEEP in text:
            return Probe(ReplicaState.SLEEPING, "the engine sleeps")
        gauges = read_gauges(text, _WANTED)
        return Probe(
            ReplicaState.READY,
            load=ReplicaLoad(
                count(gauges, _RUNNING),
                count(gauges, _WAITING),
                mean_share(gauges, _KV_USE),
                ratio(gauges, _HITS, _QUERIES),
            ),
        )


async def _is_paused(client: httpx.AsyncClient, url: str) -> bool:
    page = await fetch(client, url + "/is_paused")
    try:
        return page is not None and _PAUSED.decode(page).get("is_paused") is True
    except msgspec.DecodeError:
        return False


def _build(settings: VLLMSettings, _: BuildContext) -> Backend:
    return VLLM(settings)


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("vllm", VLLMSettings, _build)]
