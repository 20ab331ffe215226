"""How to speak to an engine that has a path and errors of its own; opens no connection and keeps nothing of a call."""

from __future__ import annotations

from typing import Annotated, ClassVar

import httpx
import msgspec
from msgspec import Meta, Raw, Struct

from gateway import (
    Backend,
    BuildContext,
    Call,
    Capability,
    Launcher,
    Meter,
    Operation,
    Probe,
    Replica,
    ReplicaState,
    UpstreamRequest,
    Usage,
)
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamRefused


class SampleEngineSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A replica's `options:`. `path` is where the engine takes chats, `health_path` where it says that it is well."""

    path: Annotated[str, Meta(pattern="^/")] = "/generate"
    health_path: Annotated[str, Meta(pattern="^/")] = "/health"


class _Error(Struct, frozen=True):
    """`{"error": "what is wrong"}`, or `{"error": {"message": "what is wrong"}}`."""

    error: str | dict[str, Raw] = ""


class SampleEngine:
    """The backend."""

    kind: ClassVar[str] = "sample_engine"
    operations: ClassVar[frozenset[Operation]] = frozenset({Operation.CHAT})
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    launcher: ClassVar[Launcher | None] = None

    def __init__(self, settings: SampleEngineSettings) -> None:
        self._settings = settings

    def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
        """Send the body as it came, but for the model's name where the engine knows it by another."""
        body = call.body
        if call.requested_model != replica.served_model:
            # Raw keeps every other value exactly as the client wrote it.
            fields = msgspec.json.decode(body, type=dict[str, Raw])
            fields["model"] = Raw(msgspec.json.encode(replica.served_model))
            body = msgspec.json.encode(fields)
        headers = ((b"content-type", b"application/json"), (b"x-request-id", attempt_id.encode()))
        return UpstreamRequest(self._settings.path, headers, body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        """Overloaded: another replica is tried. Refused: the caller reads the engine's words. Broken: nobody does."""
        if status in (429, 503):
            return UpstreamOverloaded(f"status {status}: {_words(body)}")
        if status in (400, 422):
            # Whoever asks reads these words; this engine names no address and no path in them.
            return UpstreamRefused(_words(body) or "The engine refused the request.", engine_status=status)
        return UpstreamBroken(f"status {status}: {_words(body)}")

    def read_first_event(self, event: bytes) -> UpstreamError | None:
        """Tell whether the stream begins with an error: this engine says 200 before it knows whether it has room."""
        payload = sse.data(event)
        if payload is None or not payload.startswith(b'{"error"'):
            return None
        return UpstreamOverloaded(_words(payload))

    def objection(self, call: Call, replica: Replica) -> str | None:
        """Object to nothing."""
        return None

    def abort(self, request: UpstreamRequest) -> UpstreamRequest | None:
        """Nothing to send: this engine notices a closed connection."""
        return None

    def new_meter(self, call: Call, request: UpstreamRequest) -> Meter:
        """Meter one attempt."""
        return SampleMeter()

    async def probe(self, client: httpx.AsyncClient, replica: Replica) -> Probe:
        """Ready when its health path answers 200. An engine that is down is a finding, not an exception."""
        try:
            response = await client.get(replica.url + self._settings.health_path)
        except httpx.HTTPError as error:
            return Probe(ReplicaState.UNREACHABLE, f"the probe failed with {type(error).__name__}")
        if response.status_code == httpx.codes.OK:
            return Probe(ReplicaState.READY)
        return Probe(ReplicaState.UNREACHABLE, f"the probe was answered with {response.status_code}")


class SampleMeter:
    """Counts events and passes them on. This engine counts no tokens, so `usage` stays None: unknown, not zero."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.events = 0
        self.error: UpstreamError | None = None
        self.transforms: list[str] = []
        self._done = False

    def feed_events(self, events: bytes) -> bytes:
        """Look at each event; all of them go on to the client."""
        for event in sse.split(events):
            payload = sse.data(event)
            self.events += payload is not None
            self._done = self._done or payload == b"[DONE]"
        return events

    def end_events(self) -> UpstreamError | None:
        """Without `[DONE]` the stream was cut short."""
        return None if self._done else UpstreamBroken("the stream ended without [DONE]")

    def read_body(self, body: bytes) -> bytes:
        """Pass a plain answer on as it is."""
        return body


def _words(body: bytes) -> str:
    """What the engine said, without end."""
    try:
        found = msgspec.json.decode(body, type=_Error).error
        words = found if isinstance(found, str) else msgspec.json.decode(found.get("message", b'""'), type=str)
    except msgspec.DecodeError:
        return ""
    return words[:500]


def build_engine(settings: SampleEngineSettings, _: BuildContext) -> Backend:
    """Build the backend; called once per replica that says `backend: sample_engine`."""
    return SampleEngine(settings)
