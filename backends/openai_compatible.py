"""Any engine that speaks OpenAI's API, and the shared base of those that nearly do; knows no quirk of a particular one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import httpx
import msgspec
from msgspec import Raw

from backends.openai_errors import clean, read_error_object
from backends.openai_meter import OpenAIMeter, holds_error
from gateway import (
    Backend,
    BuildContext,
    Call,
    Capability,
    Extension,
    Launcher,
    Meter,
    NoSettings,
    Operation,
    Probe,
    Replica,
    ReplicaState,
    UpstreamRequest,
    hookimpl,
)
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamRefused

PATHS = {Operation.CHAT: "/v1/chat/completions", Operation.COMPLETIONS: "/v1/completions"}

_HEADERS = ((b"content-type", b"application/json"), (b"accept-encoding", b"identity"))
_WANT_USAGE = Raw(b'{"include_usage":true}')
RETRY_AFTER_SECONDS = 1.0

_TOP_LEVEL = msgspec.json.Decoder(dict[str, Raw])
_ENCODE = msgspec.json.Encoder().encode


class OpenAICompatible:
    """The backend; subclasses say what their engine does otherwise."""

    kind: ClassVar[str] = "openai_compatible"
    operations: ClassVar[frozenset[Operation]] = frozenset(PATHS)
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    launcher: ClassVar[Launcher | None] = None
    probe_path: ClassVar[str] = "/v1/models"
    # 400 is not here: an engine that finds a request wrong finds it wrong everywhere.
    overloaded_statuses: ClassVar[frozenset[int]] = frozenset({429, 502, 503, 504})

    def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
        """Rename the model, and make sure that a stream ends with its usage."""
        body = call.body
        asks_usage = call.stream and not call.wants_usage
        if asks_usage or call.requested_model != replica.served_model:
            fields = _TOP_LEVEL.decode(body)
            if call.requested_model != replica.served_model:
                fields["model"] = Raw(_ENCODE(replica.served_model))
            if asks_usage:
                fields["stream_options"] = (
                    _with_usage(fields["stream_options"]) if call.sets_stream_options else _WANT_USAGE
                )
            body = _ENCODE(fields)
        return UpstreamRequest(PATHS[call.operation], (*_HEADERS, (b"x-request-id", attempt_id.encode())), body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        """Tell an overload, which another replica may not have, from a refusal, which all would repeat."""
        found = read_error_object(body)
        if status in self.overloaded_statuses:
            return UpstreamOverloaded(
                f"status {status}: {found.message[:200]}", retry_after_seconds=RETRY_AFTER_SECONDS
            )
        if 400 <= status < 500 and status not in (401, 403, 404, 407):  # noqa: PLR2004 - the range of 4xx
            return UpstreamRefused(
                clean(found.message) or f"The engine refused the request with status {status}.",
                engine_status=status,
                engine_type=found.type if found.type and not found.type.isdigit() else None,
                param=found.param,
            )
        # 401, 403 and 404 of an engine mean that our own configuration is wrong, which is not the client's to see.
        return UpstreamBroken(f"status {status}: {found.message[:200]}")

    def read_first_event(self, event: bytes) -> UpstreamError | None:
        """An error object where a chunk should be."""
        if b'"error"' not in event:
            return None
        payload = sse.data(event)
        return self.error_in(payload) if payload is not None else None

    def error_in(self, payload: bytes) -> UpstreamError | None:
        """The error that an event or an answer with status 200 holds; its own code says what kind it is."""
        try:
            if not holds_error(payload):
                return None
        except msgspec.DecodeError:
            return UpstreamBroken("an event that is not JSON")
        code = read_error_object(payload).code
        status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdigit()) else 500
        return self.read_error(status, payload)

    def objection(self, call: Call, replica: Replica) -> str | None:  # noqa: ARG002 - what is not known is tried
        """Nothing is known of such an engine, so nothing is held against it."""
        return None

    def abort(self, request: UpstreamRequest) -> UpstreamRequest | None:  # noqa: ARG002
        """A closed connection is enough."""
        return None

    def new_meter(self, call: Call, request: UpstreamRequest) -> Meter:  # noqa: ARG002
        """A meter that hides usage from a client that did not ask for it."""
        return OpenAIMeter(self, hide_usage=call.stream and not call.wants_usage)

    async def probe(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """Ready when the probe path answers 200."""
        try:
            response = await client.get(replica.url + self.probe_path)
        except httpx.HTTPError as error:
            return Probe(ReplicaState.UNREACHABLE, f"the probe failed with {type(error).__name__}")
        if response.status_code == httpx.codes.OK:
            return Probe(ReplicaState.READY)
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return Probe(ReplicaState.STARTING, "the engine says that it is not ready")
        return Probe(ReplicaState.UNREACHABLE, f"the probe was answered with {response.status_code}")


def _with_usage(stream_options: Raw) -> Raw:
    """The client's own stream options, with usage asked for."""
    try:
        fields = _TOP_LEVEL.decode(stream_options)
    except msgspec.DecodeError:  # null
        return _WANT_USAGE
    fields["include_usage"] = Raw(b"true")
    return Raw(_ENCODE(fields))


def _build(_: NoSettings, __: BuildContext) -> Backend:
    return OpenAICompatible()


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("openai_compatible", NoSettings, _build)]
