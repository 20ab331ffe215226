"""llama.cpp's server: what it does otherwise than any OpenAI-compatible engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import httpx
import msgspec
from msgspec import Raw, Struct

from backends import dialects
from backends.launchers.llama_cpp import LlamaCppLauncher
from backends.objections import names_a_tool, wants_no_tool
from backends.openai_compatible import EngineSettings, OpenAICompatible
from backends.parameters import NULL, changes_answer, decoded
from backends.probing import count, fetch, fetch_gauges, share
from backends.request_edit import RequestEdit, encode
from gateway import (
    Backend,
    BuildContext,
    Call,
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

_PROCESSING = "llamacpp:requests_processing"
_DEFERRED = "llamacpp:requests_deferred"
_PROMPT = "llamacpp:prompt_tokens_total"
_CACHED = "llamacpp:prompt_tokens_cached_total"
_WANTED = frozenset({_PROCESSING, _DEFERRED, _PROMPT, _CACHED})

_LOADING = b"Loading model"

_TRUE = Raw(b"true")
_ONE = Raw(b"1")
_ZERO = Raw(b"0")


class _Slot(Struct, frozen=True):
    is_processing: bool = False


_SLOTS = msgspec.json.Decoder(list[_Slot])


class LlamaCpp(OpenAICompatible):
    """`llama-server` of build 11434 (`tools/server`), started with `--jinja`.

    It has slots instead of a scheduler, and no salt: whoever's prompt begins alike is served from the same cache.
    """

    kind: ClassVar[str] = "llama_cpp"
    served: ClassVar[frozenset[Operation]] = frozenset(Operation)
    can: ClassVar[frozenset[Capability]] = frozenset({Capability.TOOLS, Capability.LOGPROBS, Capability.REASONING})
    dialect: ClassVar[dialects.Dialect] = dialects.LLAMA_CPP
    reasoning_key: ClassVar[str | None] = "reasoning_content"
    launcher: ClassVar[Launcher | None] = LlamaCppLauncher()
    introspection: ClassVar[Introspection] = Introspection(
        facts=(
            Fact(FactName.VERSION, "/props", "build_info"),
            Fact(FactName.LOADED, "/props", "model_path"),
            Fact(FactName.PRECISION, "/props", "model_ftype"),
        ),
        answer_fields={"cache_prompt": False},
    )
    probe_path: ClassVar[str] = "/health"

    def objection(self, call: Call, replica: Replica) -> str | None:
        """It reads a tool choice only as a word, tokenizes texts alone, and scores no streams with tools."""
        if call.operation is Operation.TOKENIZE and "messages" in call.fields:
            return f"`messages` cannot be tokenized by {self.kind}; send a `prompt`."
        if "tool_choice" in call.fields and call.has_tools:
            if names_a_tool(call):
                return f"`tool_choice` with one tool's name would be ignored by {self.kind}; offer that tool alone."
            if call.operation is Operation.MESSAGES and wants_no_tool(call):
                return f"`tool_choice` of type none would be ignored by {self.kind}; leave out `tools`."
        if call.stream and call.has_tools and call.operation is Operation.CHAT and _wants_logprobs(call):
            return f"`logprobs` would be refused by {self.kind} in a stream with `tools`; ask for a whole answer."
        return super().objection(call, replica)

    def add_own(self, edit: RequestEdit, replica: Replica, attempt_id: str) -> str | None:  # noqa: ARG002
        """Say in its own words what others take as it is."""
        fields = edit.fields
        if edit.call.operation is Operation.TOKENIZE:
            _spell_tokenize(edit)
            return None
        if "repetition_penalty" in fields:
            # Its own looks back only so far; others count the whole context.
            edit.put("repeat_penalty", edit.take("repetition_penalty"))
            edit.put("repeat_last_n", Raw(encode(replica.context_length)))
            edit.note("spelling")
        is_chat = edit.call.operation is Operation.CHAT
        if is_chat and fields.get("logprobs", NULL) == _TRUE and not decoded(fields.get("top_logprobs", NULL)):
            # Without a number it lists twenty alternatives, and with 0 no log-probabilities at all.
            edit.put("top_logprobs", _ONE)
            edit.note("spelling")
        elif edit.call.operation is Operation.COMPLETIONS and fields.get("logprobs", NULL) == _ZERO:
            edit.put("logprobs", _ONE)
            edit.note("spelling")
        return None

    def read_unready(self, replica: Replica, body: bytes) -> Probe:
        """It says so while it loads its model; when it is to end, it closes its port at once."""
        if _LOADING in body:
            return Probe(ReplicaState.STARTING, "the engine loads its model")
        return super().read_unready(replica, body)

    async def look_at_load(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """The gauges of `/metrics`, which need `--metrics`; without them the busy slots of `/slots`."""
        gauges = await fetch_gauges(client, replica.url + "/metrics", _WANTED)
        if gauges:
            cached, read = sum(gauges.get(_CACHED, ())), sum(gauges.get(_PROMPT, ()))
            hit_rate = share(cached, cached + read) if _CACHED in gauges else None
            load = ReplicaLoad(count(gauges, _PROCESSING), count(gauges, _DEFERRED), cache_hit_rate=hit_rate)
            return Probe(ReplicaState.READY, load=load)
        page = await fetch(client, replica.url + "/slots")
        try:
            slots = _SLOTS.decode(page) if page is not None else []
        except msgspec.DecodeError:
            slots = []
        running = sum(slot.is_processing for slot in slots)
        return Probe(ReplicaState.READY, load=ReplicaLoad(running) if slots else None)


def _wants_logprobs(call: Call) -> bool:
    return "logprobs" in call.fields and changes_answer("logprobs", call.fields["logprobs"])


def _spell_tokenize(edit: RequestEdit) -> None:
    if "prompt" in edit.fields:
        edit.put("content", edit.take("prompt"))
    special = edit.fields.get("add_special_tokens", NULL)
    edit.put("add_special", special if special != NULL else _TRUE)


def _build(settings: EngineSettings, _: BuildContext) -> Backend:
    return LlamaCpp(settings)


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("llama_cpp", EngineSettings, _build)]
