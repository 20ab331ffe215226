"""What was sent to an engine, as far as whoever reads its answer must know; written by `prepare`, read by the meters."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Sent(Struct, frozen=True, kw_only=True):
    """The `notes` of an `UpstreamRequest`.

    Attributes:
        engine_model: the model name that the engine will put into its answer.
        client_call_ids: per tool-call id that the engine saw in the history, the id that the client knows it by; those
            that are the same for both are left out.
        next_call_index: conversation-wide index of the first tool call that the answer may make.
        engine_request_id: the id under which the engine can be told to abort, if it was given one.
    """

    engine_model: str
    client_call_ids: Mapping[str, str] = {}
    next_call_index: int = 0
    engine_request_id: str | None = None
