"""Asymptotic confidence sequence for a mean: as tight as can be, for many units; where it is used, its method says so.

Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Time-uniform central limit theory (Annals of Statistics 52, 2024; arXiv 2103.06476).
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct

from plugins.experiments.statistics.checking import InvalidSample, Lanes, check_level, check_values
from plugins.experiments.statistics.estimate import Estimate

METHOD = "asymptotic confidence sequence"
# Before this many units the normal limit is no argument, and no interval is given but the whole line.
FIRST_UNIT = 100


def tightness(alpha: float, planned_units: float) -> float:
    """ρ²: makes the sequence tightest at `planned_units` (the paper's appendix B.2, in its approximate form)."""
    if not planned_units >= 1:
        raise InvalidSample(f"planned_units must be 1 or more, not {planned_units}")
    doubt = -2 * math.log(check_level(alpha))
    return (doubt + math.log(doubt + 1)) / planned_units


def critical_value(units: float, alpha: float, planned_units: float) -> float:
    """By how many standard errors of the mean of `units` the interval reaches to either side; a fixed-n interval has z."""
    rho = tightness(alpha, planned_units) * units
    return math.sqrt(2 * (rho + 1) / rho * math.log(math.sqrt(rho + 1) / alpha))


class AsymptoticMean(Struct, kw_only=True, tag=True):
    """The mean of values of any range with a finite variance.

    Attributes:
        alpha: chance that the interval ever misses the mean, for many units; set before the first value.
        planned_units: where the interval is tightest.
        count, mean, squares: of the values so far; `squares` is the sum of squared distances from their mean.
    """

    alpha: float
    planned_units: int = 1000
    count: int = 0
    mean: Lanes = 0.0
    squares: Lanes = 0.0

    def __post_init__(self) -> None:
        """Refuse levels that are none."""
        tightness(self.alpha, self.planned_units)

    def add(self, value: Lanes) -> None:
        """One value more."""
        checked = check_values(value, name="a value")
        self.count += 1
        distance = checked - self.mean
        self.mean = self.mean + distance / self.count
        self.squares = self.squares + distance * (checked - self.mean)

    @property
    def half_width(self) -> Lanes:
        """Of the interval; infinite before `FIRST_UNIT` and while all values are the same."""
        if self.count < FIRST_UNIT:
            return math.inf
        error = np.sqrt(self.squares) / self.count
        return np.where(error > 0, error * critical_value(self.count, self.alpha, self.planned_units), np.inf)

    def estimate(self) -> Estimate:
        """The mean so far with its interval."""
        half = float(self.half_width)
        mean = float(self.mean)
        return Estimate(
            effect=mean,
            lower=mean - half,
            upper=mean + half,
            confidence=1 - self.alpha,
            calls=self.count,
            units=self.count,
            method=METHOD,
            anytime=True,
        )


def mean_difference(a: AsymptoticMean, b: AsymptoticMean) -> Estimate:
    """B's mean less A's on a live split, for values without bounds, e.g. USD a conversation; both with one alpha and plan.

    The same sequence, about the difference: its error is that of the two means together.
    """
    if (a.alpha, a.planned_units) != (b.alpha, b.planned_units):
        raise InvalidSample("two arms of one comparison have the same alpha and planned_units")
    half = float(difference_half_width(a, b))
    effect = float(b.mean - a.mean)
    return Estimate(
        effect=effect,
        lower=effect - half,
        upper=effect + half,
        confidence=1 - a.alpha,
        calls=a.count + b.count,
        units=a.count + b.count,
        method=f"{METHOD}, two arms",
        anytime=True,
    )


def difference_half_width(a: AsymptoticMean, b: AsymptoticMean) -> Lanes:
    """Of the interval of B's mean less A's; infinite until both arms have `FIRST_UNIT` units and some spread."""
    if min(a.count, b.count) < FIRST_UNIT:
        return math.inf
    error = np.sqrt(a.squares / a.count**2 + b.squares / b.count**2)
    return np.where(error > 0, error * critical_value(a.count + b.count, a.alpha, a.planned_units), np.inf)
