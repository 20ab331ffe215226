"""Confidence sequences for latency quantiles, and for their difference and ratio between two arms: valid at every look.

Howard & Ramdas, Sequential estimation of quantiles with applications to A/B testing and best-arm identification (Bernoulli 28,
2022). At its true value x, the number of calls that took at most x is a sum of coin flips of chance p: a beta mixture bets against
that, and x is refused when the capital passes 1/alpha. For two arms the capitals are multiplied: every pair of quantiles whose
product stays below 1/alpha is kept, and the difference and ratio range over these. No assumption but that an arm's calls are alike
and independent.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct

from plugins.experiments.statistics.asymptotic import tightness
from plugins.experiments.statistics.checking import Floats, InvalidSample, NotEnough, Places, check_level
from plugins.experiments.statistics.distributions import log_gamma
from plugins.experiments.statistics.estimate import Estimate, Interval, Scale
from plugins.experiments.statistics.latency_histogram import LatencyHistogram

METHOD = "quantile confidence sequence (beta mixture)"


class QuantilePlan(Struct, frozen=True, kw_only=True):
    """What is asked, set before the data are seen.

    Attributes:
        quantile: in (0, 1), e.g. 0.95.
        alpha: chance that the interval ever misses the truth.
        planned_calls: of an arm, where the interval is tightest.
    """

    quantile: float
    alpha: float = 0.05
    planned_calls: int = 1000

    def __post_init__(self) -> None:
        """Refuse levels that are none."""
        check_level(self.quantile, "quantile")
        tightness(self.alpha, self.planned_calls)


def log_capital(below: Floats, calls: Floats | float, plan: QuantilePlan) -> Floats:
    """Log of what a beta mixture has won betting that `below` of `calls` flips were not of the quantile's chance; of any shape."""
    quantile = plan.quantile
    strength = max(1 / tightness(plan.alpha, plan.planned_calls), 0.5 / min(quantile, 1 - quantile))
    more, less = strength * quantile, strength * (1 - quantile)
    prior = math.lgamma(more) + math.lgamma(less) - math.lgamma(strength)
    above = calls - below
    mixture = log_gamma(more + below) + log_gamma(less + above) - log_gamma(strength + calls) - prior
    fair = below * math.log(quantile) + above * math.log1p(-quantile)
    capital: Floats = mixture - fair
    return capital


def least_log_capital(state: LatencyHistogram, plan: QuantilePlan, design_effect: float = 1.0) -> Floats:
    """For each bin, the least capital of a quantile that lies in it: shape (bins,).

    `design_effect`, 1 or more, is what dependence between an arm's calls raises the variance by: their number is divided by it.
    """
    if not design_effect >= 1:
        raise InvalidSample(f"a design effect is 1 or more, not {design_effect}")
    column = state.column() / design_effect
    calls = float(column.sum())
    if not calls:
        raise NotEnough("an arm without calls")
    at_most = np.cumsum(column)
    # Calls of a bin may lie to either side of a value in it: the side that is kinder to that value.
    kindest = np.clip(calls * plan.quantile, at_most - column, at_most)
    return log_capital(kindest, calls, plan)


def quantile_interval(state: LatencyHistogram, plan: QuantilePlan, design_effect: float = 1.0) -> Interval:
    """One arm's quantile, in seconds, with its interval; infinite ends are among the time-outs."""
    capital = least_log_capital(state, plan, design_effect)
    kept = np.flatnonzero(capital < math.log(1 / plan.alpha))
    return Interval(
        value=state.value(plan.quantile),
        lower=float(state.starts()[kept[0]]),
        upper=float(state.ends()[kept[-1]]),
        confidence=1 - plan.alpha,
        calls=state.calls,
        method=METHOD,
    )


def compare_quantiles(
    a: LatencyHistogram,
    b: LatencyHistogram,
    plan: QuantilePlan,
    scale: Scale = "ratio",
    design_effects: tuple[float, float] = (1.0, 1.0),
) -> Estimate:
    """B's quantile over A's, or less A's in seconds, with its interval."""
    level = math.log(1 / plan.alpha)
    first = least_log_capital(a, plan, design_effects[0])
    second = least_log_capital(b, plan, design_effects[1])
    places = np.flatnonzero(first + second.min() < level)
    low, high = _kept_range(second, level - first[places])
    lowest = zip(a.ends()[places], b.starts()[low], strict=True)
    highest = zip(a.starts()[places], b.ends()[high], strict=True)
    return Estimate(
        effect=contrast(a.value(plan.quantile), b.value(plan.quantile), scale),
        lower=min(contrast(*pair, scale=scale) for pair in lowest),
        upper=max(contrast(*pair, scale=scale) for pair in highest),
        confidence=1 - plan.alpha,
        calls=a.calls + b.calls,
        units=a.calls + b.calls,
        method=f"{METHOD}, two arms",
        anytime=True,
        scale=scale,
    )


def _kept_range(capital: Floats, levels: Floats) -> tuple[Places, Places]:
    """The first and last place with less capital than each level; capital falls to its least and rises again."""
    least = int(np.argmin(capital))
    falling, rising = capital[: least + 1], capital[least:]
    first = least - np.searchsorted(falling[::-1], levels) + 1
    last = least + np.searchsorted(rising, levels) - 1
    return np.minimum(first, least), np.maximum(last, least)


def contrast(a: float, b: float, scale: Scale) -> float:
    """B against A; of two that are both among the time-outs nothing is known, and no effect is the value."""
    if math.isinf(a) and math.isinf(b):
        return 1.0 if scale == "ratio" else 0.0
    if scale == "ratio":
        return float(b / a) if not math.isinf(a) else 0.0
    return float(b - a)
