"""KTransformers (sglang-kt): what it does otherwise than SGLang, of which it is a fork."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import httpx
import msgspec
from msgspec import Raw

from backends import dialects
from backends.launchers.ktransformers import KTransformersLauncher
from backends.openai_compatible import EngineSettings
from backends.parameters import NULL, changes_answer
from backends.request_edit import RequestEdit, cut, encode
from backends.sglang import SGLang, SGLangSettings
from gateway import (
    Backend,
    BuildContext,
    Call,
    Extension,
    Fact,
    FactName,
    Introspection,
    Launcher,
    NativeContinuation,
    Operation,
    Probe,
    Replica,
    ReplicaState,
    hookimpl,
)

_TOOLS = msgspec.json.Decoder(list[dict[str, Raw]]).decode


class KTransformersSettings(EngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a replica's `options:` may say besides.

    Attributes:
        priority: the engine runs with `--enable-priority-scheduling`; without that it may refuse any priority.
        low_priority_first: it also runs with `--schedule-low-priority-values-first`.
    """

    priority: bool = False
    low_priority_first: bool = False


class KTransformers(SGLang):
    """sglang-kt 0.7.2 with kt-kernel: experts on CPUs, so few slots, long first bytes, and minutes of warm-up.

    How many slots it has (`--max-running-requests`), and how long a prompt it takes (`--max-total-tokens`), the
    replica's `max_concurrent` and `context_length` should say. It takes a salt and loses it before its scheduler
    (srt/managers/scheduler.py passes no extra_key on): its tenants share one prefix cache, salted or not.
    """

    kind: ClassVar[str] = "ktransformers"
    dialect: ClassVar[dialects.Dialect] = dialects.KTRANSFORMERS
    launcher: ClassVar[Launcher | None] = KTransformersLauncher()
    introspection: ClassVar[Introspection] = Introspection(
        facts=(
            Fact(FactName.VERSION, "/server_info", "version"),
            Fact(FactName.LOADED, "/model_info", "model_path"),
            Fact(FactName.PRECISION, "/server_info", "kt_method"),
        ),
        # Its OpenAI API tells no ids, and with transformers 5 it lists one log-probability for all tokens of an answer
        # (srt/managers/tokenizer_manager.py: `batch_decode` of a flat list). `/generate` gives ids and numbers alone.
        continues=NativeContinuation(
            path="/generate",
            ids_field="input_ids",
            limit_field="sampling_params.max_new_tokens",
            fields={"return_logprob": True, "top_logprobs_num": 5, "sampling_params": {"temperature": 0}},
        ),
    )

    def __init__(self, settings: KTransformersSettings | None = None) -> None:
        settings = settings or KTransformersSettings()
        super().__init__(
            SGLangSettings(
                operations=settings.operations,
                leave_out=settings.leave_out,
                priority=settings.priority,
                low_priority_first=settings.low_priority_first,
                cache_salt=False,
            )
        )

    def objection(self, call: Call, replica: Replica) -> str | None:
        """Its tokenizer takes texts alone, and only streams without tools have right log-probabilities."""
        if call.operation is Operation.TOKENIZE and "messages" in call.fields:
            return f"`messages` cannot be tokenized by {self.kind}; send a `prompt`."
        if not call.stream or call.has_tools:
            for name in ("logprobs", "top_logprobs"):
                if name in call.fields and changes_answer(name, call.fields[name]):
                    return f"`{name}` would be wrong or missing in what {self.kind} answers; ask for a stream, without tools."
        return super().objection(call, replica)

    def add_own(self, edit: RequestEdit, replica: Replica, attempt_id: str) -> str | None:
        """What SGLang's own takes; and a tool whose `strict` is null loses it, because here that is an error."""
        if edit.call.operation is Operation.CHAT and edit.call.has_tools:
            _leave_out_null_strict(edit)
        return super().add_own(edit, replica, attempt_id)

    async def probe(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """It has no `/ready`. Its load comes from its scheduler, which tells nothing while it reads a long prompt."""
        found = await self.probe_older(client, replica)
        return await self.look_at_load(client, replica) if found.state is ReplicaState.READY else found


def _leave_out_null_strict(edit: RequestEdit) -> None:
    written = edit.fields.get("tools", NULL)
    if b'"strict"' not in bytes(written):
        return
    try:
        tools = _TOOLS(written)
        functions = [cut(tool["function"]) for tool in tools if "function" in tool]
    except msgspec.DecodeError:  # the engine shall judge it
        return
    if all(function.get("strict") != NULL for function in functions):
        return
    for tool in tools:
        if "function" in tool:
            function = {
                name: value for name, value in cut(tool["function"]).items() if (name, value) != ("strict", NULL)
            }
            tool["function"] = Raw(encode(function))
    edit.put("tools", Raw(encode(tools)))
    edit.note("spelling")


def _build(settings: KTransformersSettings, _: BuildContext) -> Backend:
    return KTransformers(settings)


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("ktransformers", KTransformersSettings, _build)]
