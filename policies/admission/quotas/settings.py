"""The settings of `quotas`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway import Limit


class QuotasSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of the configuration; those of keys, teams and tenants come with the caller.

    Attributes:
        exact_bytes: a body no longer than this has its input counted exactly, where the model has a `tokenizer`; longer
            ones only where a budget is near its end.
    """

    limits: tuple[Limit, ...] = ()
    exact_bytes: Annotated[int, Meta(ge=0, le=1_048_576)] = 2_048
