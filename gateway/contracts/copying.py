"""Copies of calls: what keeps them from being in anybody's way."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class CopyLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What copies of one kind may take. A copy that would take more is not made.

    Attributes:
        max_concurrent: copies in flight at a time.
        max_bytes: of the requests that copies in flight hold.
        total_seconds: how long one copy may take.
        busy_share: of the slots of the model's own replicas, from which on nothing is copied, and copies in flight end.
    """

    max_concurrent: Annotated[int, Meta(ge=1, le=256)] = 8
    max_bytes: Annotated[int, Meta(ge=1_024)] = 16_777_216
    total_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 600.0
    busy_share: Annotated[float, Meta(gt=0, le=1)] = 0.8
