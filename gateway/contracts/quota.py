"""What a limit is, wherever it is written: in the configuration, or with a tenant, a team or a key."""

from __future__ import annotations

import math
import zoneinfo
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway.contracts.store import MOST_UNITS


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


CONCURRENT = frozenset({Dimension.CONCURRENT_CALLS, Dimension.CONCURRENT_STREAMS})
"""What is counted while it lasts."""

PARTS: Mapping[Dimension, int] = {Dimension.COST: 1_000_000_000, Dimension.WEIGHTED_TOKENS: 1_000}
"""Budgets are whole numbers of parts; of so many to one of what a limit is written in. Of the other dimensions, of ones."""


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

    def problems(self) -> Iterator[tuple[str, str]]:
        """What keeps it from being counted though each field is of its type: the name of the field to blame, and why."""
        yield from self._of_amount("amount", self.amount)
        if self.dimension in CONCURRENT:
            yield from self._of_concurrency()
            return
        if self.every is None:
            yield "every", "missing; it must be one of second, minute, hour, day, month"
        if self.window == "calendar":
            yield from self._of_calendar()
        elif self.burst is not None:
            yield from self._of_amount("burst", self.burst)
        if self.dimension is Dimension.WEIGHTED_TOKENS:
            yield from self._of_weights()

    def _of_amount(self, field: str, amount: float) -> Iterator[tuple[str, str]]:
        parts = PARTS.get(self.dimension, 1)
        if not math.isfinite(amount):
            yield field, "must be finite"
        elif round(amount * parts) < 1:
            yield field, f"is less than the smallest part of {self.dimension.value} that is counted"
        elif round(amount * parts) > MOST_UNITS:
            yield field, "is more than can be counted"
        elif parts == 1 and amount != int(amount):
            yield field, "must be a whole number"

    def _of_concurrency(self) -> Iterator[tuple[str, str]]:
        if self.every is not None:
            yield "every", f"{self.dimension.value} are counted while they last; they have no `every`"
        if self.burst is not None:
            yield "burst", f"{self.dimension.value} have no `burst`"
        if self.window != "bucket":
            yield "window", f"{self.dimension.value} have no `window`"

    def _of_calendar(self) -> Iterator[tuple[str, str]]:
        if self.burst is not None:
            yield "burst", "a calendar window has no `burst`"
        if self.every in ("second", "minute"):
            yield "every", "a calendar window is an hour, a day or a month"
        try:
            zoneinfo.ZoneInfo(self.time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            yield "time_zone", f"no time zone is called {self.time_zone[:64]!r}"

    def _of_weights(self) -> Iterator[tuple[str, str]]:
        weights = self.weights.values()
        parts = [round(weight * PARTS[Dimension.WEIGHTED_TOKENS]) for weight in weights if math.isfinite(weight)]
        if len(parts) < len(weights) or min(parts, default=0) < 0 or max(parts, default=0) == 0:
            yield "weights", "must be finite, not negative, and not all zero"
