"""What `decisions` can be told."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class DecisionsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many calls are remembered.

    Attributes:
        recent_calls, recent_bytes: the latest calls, in memory, as many as both allow.
        sample: share of all calls that goes to the database; 0 needs none.
        retention_days: how long they are kept there; null for ever.
    """

    recent_calls: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    recent_bytes: Annotated[int, Meta(ge=4_096)] = 33_554_432
    sample: Annotated[float, Meta(ge=0, le=1)] = 0.01
    retention_days: Annotated[int, Meta(ge=1, le=36_500)] | None = 30
