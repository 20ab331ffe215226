"""The meters that read engines' answers, one per shape of answer; which of them reads a call's is decided here."""

from __future__ import annotations

from backends.answers.chat import ChatMeter
from backends.answers.events import ErrorReader
from backends.answers.messages import MessagesMeter
from backends.answers.plain import PlainMeter
from backends.answers.responses import ResponsesMeter
from gateway import Call, Meter, Operation, UpstreamRequest

__all__ = ["ErrorReader", "meter_for"]


def meter_for(call: Call, request: UpstreamRequest, *, backend: ErrorReader, reasoning_key: str | None = None) -> Meter:
    """A fresh meter for one attempt at a call.

    Args:
        call: the call.
        request: what was sent; its `notes` are a `Sent` or None.
        backend: who knows the engine's errors.
        reasoning_key: what the engine calls what a model thought; None if it may be any known name.
    """
    match call.operation:
        case Operation.CHAT | Operation.COMPLETIONS:
            return ChatMeter(call, request, backend, reasoning_key)
        case Operation.MESSAGES:
            return MessagesMeter(call, request, backend)
        case Operation.RESPONSES:
            return ResponsesMeter(call, request, backend)
        case Operation.COUNT_TOKENS | Operation.TOKENIZE:
            return PlainMeter(call, request, backend)
