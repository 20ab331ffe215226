"""What every method answers with: an effect, its interval, how sure it is, and of how much data."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from plugins.experiments.statistics.checking import InvalidSample

Scale = Literal["difference", "ratio"]


class Estimate(Struct, frozen=True, kw_only=True):
    """An effect of arm B against arm A.

    Attributes:
        effect: B less A (in the endpoint's own unit; rates and scores in [-1, 1], not per cent), or B over A on the scale `ratio`.
        lower, upper: the interval's ends; infinite where the data do not bound it.
        confidence: the chance that the interval covers the truth; over all looks at once if `anytime`.
        scale: `difference`, where 0 is no effect, or `ratio`, where 1 is none.
        calls: calls (of both arms) or pairs that it is of.
        units: of how many independent units: conversations, or calls where each is its own.
        method: its name and paper.
        anytime: whether it may be looked at as often as one likes.
    """

    effect: float
    lower: float
    upper: float
    confidence: float
    calls: int
    units: int
    method: str
    anytime: bool = False
    scale: Scale = "difference"

    def __post_init__(self) -> None:
        """Refuse what is no interval."""
        if any(math.isnan(each) for each in (self.effect, self.lower, self.upper)) or self.lower > self.upper:
            raise InvalidSample(f"not an interval: {self.lower} to {self.upper} about {self.effect}")
        if not 0 < self.confidence < 1:
            raise InvalidSample(f"confidence must lie between 0 and 1, not {self.confidence}")

    @property
    def no_effect(self) -> float:
        """The effect of two arms that are alike."""
        return 0.0 if self.scale == "difference" else 1.0


class Interval(Struct, frozen=True, kw_only=True):
    """The interval of one arm's own rate, mean or quantile, not of an effect; fields as in `Estimate`."""

    value: float
    lower: float
    upper: float
    confidence: float
    calls: int
    method: str
