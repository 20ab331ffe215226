"""Any engine that speaks OpenAI's API, and the shared base of those that nearly do; knows no quirk of a particular one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import ClassVar

import httpx
import msgspec
from msgspec import Raw, Struct

from backends import dialects
from backends.answers import meter_for
from backends.dialects import Dialect
from backends.judging import judge
from backends.objections import Objector
from backends.openai_errors import ErrorObject, error_in_answer, read_error_object, status_in
from backends.parameters import INTERNAL, NULL
from backends.probing import look
from backends.reasoning_history import rename_reasoning
from backends.request_edit import (
    RequestEdit,
    ask_for_usage,
    defaults_for,
    drop,
    encode,
    fill_defaults,
    spell,
    strip_internal,
)
from backends.sent import Sent
from backends.thinking import TOGGLES, translate
from backends.tool_history import number_calls
from gateway import (
    Backend,
    BuildContext,
    Call,
    Capability,
    Extension,
    Launcher,
    Meter,
    Model,
    Operation,
    Probe,
    Replica,
    ReplicaState,
    UpstreamRequest,
    hookimpl,
)
from gateway.contracts.backend import RUNNING_STATES
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError

PATHS: Mapping[Operation, str] = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETIONS: "/v1/completions",
    Operation.RESPONSES: "/v1/responses",
    Operation.MESSAGES: "/v1/messages",
    Operation.COUNT_TOKENS: "/v1/messages/count_tokens",
    Operation.TOKENIZE: "/tokenize",
}

HEADERS = ((b"content-type", b"application/json"), (b"accept-encoding", b"identity"))
# The two operations whose streams tell of their usage only if they are asked to.
_ASKED_FOR_USAGE = frozenset({Operation.CHAT, Operation.COMPLETIONS})


class EngineSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the `options:` of every replica may say.

    Attributes:
        operations: what this endpoint can do, where that is not what its kind of engine can.
        leave_out: parameters that may be left out, and named to the client, where the engine would ignore them; without
            this a call that has them goes to an engine that honours them, or is refused.
    """

    operations: list[Operation] | None = None
    leave_out: list[str] = []


class _Way(Struct, frozen=True, eq=False):
    """What is the same for all calls of one operation and model, worked out once."""

    model: Model
    path: str
    defaults: Mapping[str, Raw]
    unusual: frozenset[str]
    accepted: frozenset[str] | None


class OpenAICompatible:
    """The backend; subclasses say what their engine does otherwise."""

    kind: ClassVar[str] = "openai_compatible"
    served: ClassVar[frozenset[Operation]] = frozenset({Operation.CHAT, Operation.COMPLETIONS})
    can: ClassVar[frozenset[Capability]] = frozenset()
    dialect: ClassVar[Dialect] = dialects.UNKNOWN
    # Under which name the engine says what the model thought; None if it may be any.
    reasoning_key: ClassVar[str | None] = None
    launcher: ClassVar[Launcher | None] = None
    probe_path: ClassVar[str] = "/v1/models"

    def __init__(self, settings: EngineSettings | None = None) -> None:
        settings = settings or EngineSettings()
        self.operations = self.served if settings.operations is None else frozenset(settings.operations)
        self._tolerated = frozenset(settings.leave_out)
        self._objector = Objector(self.kind, self.dialect, self._tolerated)
        self._ways: dict[Operation, _Way] = {}

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What else the engine can do."""
        return self.can

    def objection(self, call: Call, replica: Replica) -> str | None:  # noqa: ARG002 - it is the same for all of a kind
        """Say which parameter the engine would ignore though it changes the answer."""
        return self._objector.objection(call)

    def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
        """Edit the call's top level as far as this engine needs it; its body stays the very same where nothing changes."""
        way = self._ways.get(call.operation)
        if way is None or way.model is not call.model:
            way = self._ways[call.operation] = self._way(call)
        edit = RequestEdit(call)
        if call.requested_model != replica.served_model:
            edit.put("model", Raw(encode(replica.served_model)))
        if (
            not way.unusual.isdisjoint(edit.fields)
            or (way.accepted is not None and not edit.fields.keys() <= way.accepted)
            or (self.dialect.refuses_null and NULL in edit.fields.values())
        ):
            self._adapt(edit)
        if way.defaults:
            fill_defaults(edit, way.defaults)
        number_calls(edit)
        if self.dialect.reasoning_in_history is not None and call.operation is Operation.CHAT:
            rename_reasoning(edit, self.dialect.reasoning_in_history)
        if call.stream and not call.wants_usage and call.operation in _ASKED_FOR_USAGE:
            ask_for_usage(edit)
        elif call.sets_stream_options and not call.stream:
            edit.leave_out(["stream_options"])
        request_id = self.add_own(edit, replica, attempt_id)
        return UpstreamRequest(
            way.path,
            (*HEADERS, (b"x-request-id", attempt_id.encode())),
            edit.body(),
            tuple(edit.transforms),
            edit.told_dropped() if edit.dropped else (),
            Sent(
                engine_model=replica.served_model,
                client_call_ids=edit.client_call_ids,
                next_call_index=edit.next_call_index,
                engine_request_id=request_id,
            ),
        )

    def _adapt(self, edit: RequestEdit) -> None:
        strip_internal(edit)
        if edit.call.operation in self.dialect.reads_variables:
            translate(edit, self.dialect.variables)
        spell(edit, self.dialect)
        drop(edit, self.dialect, self._tolerated)

    def add_own(self, edit: RequestEdit, replica: Replica, attempt_id: str) -> str | None:  # noqa: ARG002
        """Add what this engine alone takes.

        Returns:
            The id under which the engine can be told to abort, if it has one.
        """
        return None

    def _way(self, call: Call) -> _Way:
        dialect = self.dialect
        toggles = TOGGLES if call.operation in dialect.reads_variables else frozenset({"chat_template_kwargs"})
        return _Way(
            model=call.model,
            path=PATHS[call.operation],
            defaults=defaults_for(call.operation, dialect, call.model.defaults),
            unusual=INTERNAL | toggles | self._tolerated | dialect.renamed.keys() | dialect.respelled.keys(),
            accepted=dialect.accepts.get(call.operation),
        )

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        """What an answer whose status is not 200 means."""
        return self.judge(status, read_error_object(body))

    def judge(self, status: int, found: ErrorObject) -> UpstreamError:
        """What an error of this status means."""
        return judge(status, found)

    def read_first_event(self, event: bytes) -> UpstreamError | None:
        """An error where a chunk should be."""
        if b"error" not in event and b"response.failed" not in event:
            return None
        payload = sse.data(event)
        return self.error_in(payload) if payload is not None and payload != b"[DONE]" else None

    def error_in(self, payload: bytes) -> UpstreamError | None:
        """The error that an event or an answer with status 200 holds; its own code says what kind it is."""
        try:
            found = error_in_answer(payload)
        except (msgspec.DecodeError, RecursionError):
            return UpstreamBroken("an event that is not JSON")
        return self.judge(status_in(found), found) if found is not None else None

    def abort(self, request: UpstreamRequest) -> UpstreamRequest | None:  # noqa: ARG002
        """A closed connection is enough."""
        return None

    def new_meter(self, call: Call, request: UpstreamRequest) -> Meter:
        """The meter for the shape of this operation's answers."""
        return meter_for(call, request, backend=self, reasoning_key=self.reasoning_key)

    async def probe(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """Ready when the probe path answers 200; then also ask for the load."""
        found = await look(client, replica.url + self.probe_path, partial(self.read_unready, replica))
        if found.state is not ReplicaState.READY:
            return found
        return await self.look_at_load(client, replica)

    def read_unready(self, replica: Replica, body: bytes) -> Probe:  # noqa: ARG002 - others say more in it
        """What a 503 of the probe path means: it starts, or it ran and something is wrong with it now."""
        if replica.state in RUNNING_STATES:
            return Probe(ReplicaState.UNREACHABLE, "the engine says that it is not ready any more")
        return Probe(ReplicaState.STARTING, "the engine says that it is not ready")

    async def look_at_load(self, client: httpx.AsyncClient, replica: Replica) -> Probe:  # noqa: ARG002
        """What a ready engine tells of its load; what it does not tell is no reason to think it unwell."""
        return Probe(ReplicaState.READY)


def _build(settings: EngineSettings, _: BuildContext) -> Backend:
    return OpenAICompatible(settings)


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("openai_compatible", EngineSettings, _build)]
