"""What all meters keep of an answer; reads nothing."""

from __future__ import annotations

from backends.answers.events import ErrorReader
from backends.sent import Sent
from gateway import Call, UpstreamRequest, Usage
from gateway.errors import UpstreamError


class AnswerMeter:
    """The state of a meter, as `gateway.contracts.backend.Meter` has it."""

    __slots__ = ("_asked_of", "_backend", "_sent", "_served", "error", "events", "finish_reason", "transforms", "usage")

    def __init__(self, call: Call, request: UpstreamRequest, backend: ErrorReader) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.events = 0
        self.error: UpstreamError | None = None
        self.transforms: list[str] = []
        self._backend = backend
        self._served = call.model.name
        self._sent = request.notes if isinstance(request.notes, Sent) else None
        self._asked_of = request.transforms

    def _note(self, transform: str) -> None:
        """Name what was mended, once a call."""
        if transform not in self.transforms and transform not in self._asked_of:
            self.transforms.append(transform)
