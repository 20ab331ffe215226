"""Confidence sequences for the mean of bounded values by an empirical Bernstein inequality: valid at every look.

`PlugInMean` is the predictable plug-in of Waudby-Smith & Ramdas (JRSS-B 86, 2024, theorem 2): tighter, for values whose mean stays.
`DriftingMean` is theorem 4 of Howard, Ramdas, McAuliffe & Sekhon (Annals of Statistics 49, 2021) with their stitched boundary: for
the running average of means that may drift, as those of a live day do.

All states add in a constant number of steps, and add arrays, one value a lane, as well as numbers: the simulations run so.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct

from plugins.experiments.statistics.checking import InvalidSample, Lanes, check_level, check_values
from plugins.experiments.statistics.estimate import Estimate

# A bet of more than this share of what a value can lose is not made, however sure the past looks (the paper's c).
LARGEST_BET = 0.5
# The stitched boundary: epochs grow by η, their levels fall as 1/k^s (the paper's choice for its closed form).
_ETA = 2.0
_POWER = 1.4
_ZETA = 3.1055
_K1 = (_ETA**0.25 + _ETA**-0.25) / math.sqrt(2)
_K2 = (math.sqrt(_ETA) + 1) / 2


class Moments(Struct, kw_only=True):
    """Running moments of values in [0, 1], with one imagined value of mean 1/2 and variance 1/4 before them.

    Attributes:
        count: values so far.
        total: their sum.
        squares: the sum of squared distances from the mean as it stood with each value.
    """

    count: int = 0
    total: Lanes = 0.0
    squares: Lanes = 0.0

    @property
    def mean(self) -> Lanes:
        """The regularised mean."""
        return (0.5 + self.total) / (self.count + 1)

    @property
    def variance(self) -> Lanes:
        """The regularised variance."""
        return (0.25 + self.squares) / (self.count + 1)

    def add(self, value: Lanes) -> None:
        """One value more, or one a lane."""
        self.count += 1
        self.total = self.total + value
        self.squares = self.squares + (value - self.mean) ** 2

    def bet(self, alpha: float, planned_units: int) -> Lanes:
        """The next bet, from the past alone: about sqrt(2 log(2/alpha) / (σ² t log(1+t))), or at its best at `planned_units`."""
        next_one = self.count + 1
        rounds = planned_units or next_one * math.log(1 + next_one)
        return np.sqrt(2 * math.log(2 / alpha) / (self.variance * rounds))


class Bounded(Struct, kw_only=True):
    """What all sequences over bounded values have.

    Attributes:
        alpha: chance that the interval ever misses the mean; set before the first value.
        low, high: bounds of a value.
        planned_units: where the interval is to be tightest; 0 for nowhere in particular. Valid at every look all the same.
    """

    alpha: float
    low: float = 0.0
    high: float = 1.0
    planned_units: int = 0

    def __post_init__(self) -> None:
        """Refuse levels and bounds that are none."""
        check_level(self.alpha)
        if not -math.inf < self.low < self.high < math.inf:
            raise InvalidSample(f"bounds must be finite and in order, not [{self.low}, {self.high}]")
        if self.planned_units < 0:
            raise InvalidSample("planned_units must be 0 or more")

    def scaled(self, value: Lanes) -> Lanes:
        """The value, checked, with its bounds moved to [0, 1]."""
        return (check_values(value, self.low, self.high, "a value") - self.low) / (self.high - self.low)

    def unscaled(self, value: float) -> float:
        """Back from [0, 1]."""
        return self.low + (self.high - self.low) * value

    def answer(self, effect: float, lower: float, upper: float, count: int, method: str) -> Estimate:
        """The interval in [0, 1] as an estimate within the bounds."""
        ends = sorted((max(min(each, 1.0), 0.0)) for each in (lower, upper))
        return Estimate(
            effect=float(self.unscaled(effect)),
            lower=float(self.unscaled(ends[0])),
            upper=float(self.unscaled(ends[1])),
            confidence=1 - self.alpha,
            calls=count,
            units=count,
            method=method,
            anytime=True,
        )


class PlugInMean(Bounded, kw_only=True, tag=True):
    """The mean of bounded values that all have the same mean, given their past.

    Attributes:
        moments: of the values so far.
        weight, weighted: sums of the bets, and of the bets times the values.
        penalty: what the spread costs.
        lower, upper: the intersection of all intervals so far, in [0, 1].
    """

    moments: Moments
    weight: Lanes = 0.0
    weighted: Lanes = 0.0
    penalty: Lanes = 0.0
    lower: Lanes = 0.0
    upper: Lanes = 1.0

    def add(self, value: Lanes) -> None:
        """One value more, within the bounds."""
        scaled = self.scaled(value)
        bet = np.minimum(self.moments.bet(self.alpha, self.planned_units), LARGEST_BET)
        spread = 4 * (scaled - self.moments.mean) ** 2
        self.weight = self.weight + bet
        self.weighted = self.weighted + bet * scaled
        self.penalty = self.penalty + spread * (-np.log1p(-bet) - bet) / 4
        self.moments.add(scaled)
        middle = self.weighted / self.weight
        half = (math.log(2 / self.alpha) + self.penalty) / self.weight
        self.lower = np.maximum(self.lower, middle - half)
        self.upper = np.minimum(self.upper, middle + half)

    def estimate(self) -> Estimate:
        """The mean so far, within its interval; of no values, the whole range."""
        count = self.moments.count
        mean = self.moments.total / count if count else 0.5
        return self.answer(mean, self.lower, self.upper, count, "empirical Bernstein, predictable plug-in")


def plug_in_mean(alpha: float, low: float = 0.0, high: float = 1.0, planned_units: int = 0) -> PlugInMean:
    """A sequence with no values yet."""
    return PlugInMean(alpha=alpha, low=low, high=high, planned_units=planned_units, moments=Moments())


class DriftingMean(Bounded, kw_only=True, tag=True):
    """The average, over the values so far, of means that may change from value to value.

    Attributes:
        count, total: of the values in [0, 1].
        spread: the sum of squared distances of each value from the mean of those before it.
    """

    count: int = 0
    total: Lanes = 0.0
    spread: Lanes = 0.0

    def add(self, value: Lanes) -> None:
        """One value more, within the bounds."""
        scaled = self.scaled(value)
        before = (0.5 + self.total) / (self.count + 1)
        self.count += 1
        self.total = self.total + scaled
        self.spread = self.spread + (scaled - before) ** 2

    @property
    def half_width(self) -> Lanes:
        """Of the interval, in [0, 1] units; 1 with no values."""
        return stitched(self.spread, self.alpha / 2) / self.count if self.count else 1.0

    def estimate(self) -> Estimate:
        """The mean so far with its interval. No intersection with earlier ones: what it covers moves."""
        mean = self.total / self.count if self.count else 0.5
        half = self.half_width
        return self.answer(
            mean, mean - half, mean + half, self.count, "empirical Bernstein, stitched, for drifting means"
        )


def stitched(spread: Lanes, alpha: float) -> Lanes:
    """What a sum of values in an interval of length 1 ever passes with chance `alpha` at most, to one side.

    Howard et al. 2021, theorem 1 with scale and m of 1; `spread` is the sum's empirical variance process, 0 or more.
    """
    process = np.maximum(spread, 1.0)
    level = _POWER * np.log(np.log2(process) / math.log2(_ETA) + 1) + math.log(_ZETA / alpha)
    return np.sqrt(_K1**2 * process * level + _K2**2 * level**2) + _K2 * level
