"""What a limit is, wherever it is written: in the configuration, or with a tenant, a team or a key."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct, field


class Dimension(StrEnum):
    """What a limit counts. Costs are in the currency of the model's prices; tokens by class as engines report them."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    CACHED_INPUT_TOKENS = "cached_input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOTAL_TOKENS = "total_tokens"
    WEIGHTED_TOKENS = "weighted_tokens"
    COST = "cost"
    CONCURRENT_CALLS = "concurrent_calls"
    CONCURRENT_STREAMS = "concurrent_streams"


class Subject(StrEnum):
    """Whose budget it is. A limit per several of them has one budget for each combination."""

    TENANT = "tenant"
    TEAM = "team"
    KEY = "key"
    USER = "user"
    MODEL = "model"


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One limit.

    A bucket holds `burst` (by default `amount`) and refills by `amount` per `every`, steadily. A calendar window gives
    `amount` anew at the start of each `every` in `time_zone`. What counts concurrency has neither.

    Attributes:
        name: what errors and headers call it; unique within its list.
        per: whose budgets; empty is one budget for all.
        only: values that it holds for, by subject; for all where a subject is not named.
        weights: of a class of tokens, where weighted tokens are counted.
        mode: a shadow counts and reports, and refuses nothing.
        on_store_loss: while the shared store cannot be reached: `leased` spends what this node holds and then refuses,
            `closed` refuses at once, `open` lets all pass.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    dimension: Dimension
    amount: Annotated[float, Meta(gt=0)]
    per: tuple[Subject, ...] = (Subject.KEY,)
    only: Mapping[Subject, tuple[str, ...]] = {}
    every: Literal["second", "minute", "hour", "day", "month"] | None = None
    window: Literal["bucket", "calendar"] = "bucket"
    burst: Annotated[float, Meta(gt=0)] | None = None
    time_zone: str = "UTC"
    weights: Mapping[Literal["input", "cached_input", "output"], float] = field(
        default_factory=lambda: {"input": 1.0, "cached_input": 0.1, "output": 4.0}
    )
    mode: Literal["enforce", "shadow"] = "enforce"
    on_store_loss: Literal["leased", "closed", "open"] = "leased"
