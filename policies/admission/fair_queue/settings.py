"""The settings of `fair_queue`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class FairQueueSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the queues may be, and how long a call may wait in one; for each model.

    Attributes:
        per_tenant: calls of one tenant that may wait.
        waiting: calls of all tenants that may wait.
        deadline_seconds: how long a call may wait.
        ageing_seconds: how long a call of a lower priority waits before every fourth slot goes to its like.
    """

    per_tenant: Annotated[int, Meta(ge=1, le=100_000)] = 100
    waiting: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    deadline_seconds: Annotated[float, Meta(gt=0, le=3_600)] = 30.0
    ageing_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 5.0
