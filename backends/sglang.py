"""SGLang's server: what it does otherwise than any OpenAI-compatible engine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

import httpx
import msgspec
from msgspec import Raw, Struct

from backends import dialects
from backends.judging import overloaded
from backends.launchers.sglang import SGLangLauncher
from backends.openai_compatible import HEADERS
from backends.openai_errors import ErrorObject
from backends.probing import ask, fetch, look, share, verdict
from backends.request_edit import RequestEdit, encode
from backends.sent import Sent
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
    UpstreamRequest,
    hookimpl,
)
from gateway.contracts.backend import RUNNING_STATES
from gateway.errors import UpstreamError

# Messages take neither id, nor salt, nor priority (srt/entrypoints/anthropic/protocol.py).
_GENERATING = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES})
_WRAPPED_OVERLOAD = "503: "


class SGLangSettings(SharedEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a replica's `options:` may say besides.

    Attributes:
        low_priority_first: with `priority`: the engine runs with `--schedule-low-priority-values-first`, too.
    """

    low_priority_first: bool = False


class _Load(Struct, frozen=True):
    """One scheduler's load. Counts of tokens are of the KV cache."""

    num_running_reqs: int | None = None
    num_waiting_reqs: int | None = None
    token_usage: float | None = None
    cache_hit_rate: float | None = None


class _Loads(Struct, frozen=True):
    loads: list[_Load] = []


_LOADS = msgspec.json.Decoder(_Loads)


class SGLang(SharedEngine):
    """SGLang 0.5.23 (`srt/entrypoints/http_server.py`)."""

    kind: ClassVar[str] = "sglang"
    served: ClassVar[frozenset[Operation]] = frozenset(Operation)
    can: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS, Capability.REASONING}
    )
    salted: ClassVar[frozenset[Operation]] = _GENERATING
    dialect: ClassVar[dialects.Dialect] = dialects.SGLANG
    reasoning_key: ClassVar[str | None] = "reasoning_content"
    launcher: ClassVar[Launcher | None] = SGLangLauncher()
    introspection: ClassVar[Introspection] = Introspection(
        facts=(
            Fact(FactName.VERSION, "/server_info", "version"),
            Fact(FactName.LOADED, "/model_info", "model_path"),
            Fact(FactName.PRECISION, "/server_info", "dtype"),
        ),
        answer_fields={"return_token_ids": True},
        tokenizes_chats=True,
    )
    # Tells of warm-up and shut-down, and generates nothing; older versions do not have it.
    probe_path: ClassVar[str] = "/ready"

    def __init__(self, settings: SGLangSettings | None = None) -> None:
        settings = settings or SGLangSettings()
        super().__init__(settings)
        self._priority_sign = -1 if settings.low_priority_first else 1

    def add_own(self, edit: RequestEdit, replica: Replica, attempt_id: str) -> str | None:  # noqa: ARG002
        """Give the request an id, by which it can be aborted, a salt, and a priority in the scheduler's own direction."""
        call = edit.call
        if call.operation not in _GENERATING:
            return None
        self.salt(edit)
        if self.has_priority:
            # Also when it is 0: a request without one is put last.
            edit.put("priority", Raw(encode(self._priority_sign * call.priority)))
        if call.operation is Operation.RESPONSES:
            request_id = f"resp_{attempt_id}"
            edit.put("request_id", Raw(encode(request_id)))
            return request_id
        edit.put("rid", Raw(encode(attempt_id)))
        return attempt_id

    def judge(self, status: int, found: ErrorObject) -> UpstreamError:
        """Responses wrap the status of a full queue into a 400."""
        if status == httpx.codes.BAD_REQUEST and found.message.startswith(_WRAPPED_OVERLOAD):
            return overloaded(httpx.codes.SERVICE_UNAVAILABLE, found)
        return super().judge(status, found)

    def abort(self, request: UpstreamRequest) -> UpstreamRequest | None:
        """It takes a second to notice a closed connection; told by id, it stops at once.

        A request for several answers, or with several prompts, has ids of the engine's own making: for those, and for
        messages, only the closed connection is left.
        """
        sent = request.notes
        if not isinstance(sent, Sent) or sent.engine_request_id is None:
            return None
        return UpstreamRequest("/abort_request", HEADERS, encode({"rid": sent.engine_request_id}))

    async def probe(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """Whether it is ready, asked for in a way that does not make a ready engine generate."""
        answer = await ask(client, replica.url + self.probe_path)
        older = isinstance(answer, httpx.Response) and answer.status_code == httpx.codes.NOT_FOUND
        unready = partial(self.read_unready, replica)
        found = await self.probe_older(client, replica) if older else verdict(answer, unready)
        return await self.look_at_load(client, replica) if found.state is ReplicaState.READY else found

    async def probe_older(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """Without `/ready`: `/health` until it is ready, then only whether the server answers.

        `/health` makes an idle engine generate a token, and is silent for as long as a busy one reads a long prompt:
        right for a warm-up, wrong for every five seconds. When the engine behind the server dies, the server ends too.
        """
        ready = replica.state is ReplicaState.READY
        return await look(
            client, replica.url + ("/model_info" if ready else "/health"), partial(self.read_unready, replica)
        )

    def read_unready(self, replica: Replica, body: bytes) -> Probe:
        """One that ran takes nothing new: it ends what it has before it shuts down, was paused, or does not feel well."""
        if replica.state in RUNNING_STATES:
            return Probe(ReplicaState.DRAINING, "the engine says that it takes no new calls")
        return super().read_unready(replica, body)

    async def look_at_load(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """`/v1/loads`, which is fresher than the metrics and needs no flag."""
        page = await fetch(client, replica.url + "/v1/loads?include=core")
        try:
            loads = _LOADS.decode(page).loads if page is not None else []
        except msgspec.DecodeError:
            loads = []
        return Probe(ReplicaState.READY, load=_sum(loads) if loads else None)


def _sum(loads: list[_Load]) -> ReplicaLoad:
    running = [load.num_running_reqs for load in loads if load.num_running_reqs is not None]
    waiting = [load.num_waiting_reqs for load in loads if load.num_waiting_reqs is not None]
    use = [load.token_usage for load in loads if load.token_usage is not None]
    hits = [load.cache_hit_rate for load in loads if load.cache_hit_rate is not None]
    return ReplicaLoad(
        sum(running) if running else None,
        sum(waiting) if waiting else None,
        share(sum(use), len(use)),
        share(sum(hits), len(hits)),
    )


def _build(settings: SGLangSettings, _: BuildContext) -> Backend:
    return SGLang(settings)


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("sglang", SGLangSettings, _build)]
