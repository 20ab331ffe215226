"""Latency quantiles of a mix that is the same for both arms: strata (prompt length, cache hit, load) with weights set beforehand.

The quantile is that of the weighted mixture of an arm's strata. Its interval is where the weighted share of calls comes within a
time-uniform number of standard errors of the quantile (Woodruff, JASA 47, 1952, inverted; the asymptotic confidence sequence of
Waudby-Smith et al., Annals of Statistics 52, 2024). Difference and ratio: by the square-and-add method (Zou & Donner, Statistics in
Medicine 27, 2008). Asymptotic: for `FEWEST_BEYOND` calls beyond the quantile at least, and some in every stratum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from plugins.experiments.statistics.asymptotic import critical_value
from plugins.experiments.statistics.checking import Floats, InvalidSample, NotEnough, check_weights
from plugins.experiments.statistics.estimate import Estimate, Interval, Scale
from plugins.experiments.statistics.latency_histogram import LatencyHistogram, value_at
from plugins.experiments.statistics.quantiles import QuantilePlan, contrast

METHOD = "stratified quantiles (asymptotic confidence sequence)"
FEWEST_BEYOND = 10
FEWEST_IN_STRATUM = 10

Strata = Mapping[str, LatencyHistogram]


def stratified_interval(arm: Strata, weights: Mapping[str, float], plan: QuantilePlan) -> Interval:
    """One arm's quantile in the fixed mix, in seconds, with its interval; every stratum that has a weight must have calls."""
    names = sorted(weights)
    shares = check_weights([weights[name] for name in names])
    unknown = sorted(set(arm) - set(names))
    if unknown:
        raise InvalidSample(f"no weight for {', '.join(unknown)}")
    _check_enough(arm, names, plan)
    calls = sum(arm[name].calls for name in names)
    at_most, less, variance = _shares(arm, dict(zip(names, shares, strict=True)))
    nearest = np.clip(plan.quantile, less, at_most)
    reach = critical_value(calls, plan.alpha, plan.planned_calls) * np.sqrt(variance)
    kept = np.flatnonzero(np.abs(nearest - plan.quantile) <= reach)
    time_out = min(arm[name].time_out_seconds for name in names)
    last = len(at_most) - 1
    any_arm = arm[names[0]]
    return Interval(
        value=value_at(at_most, plan.quantile),
        lower=time_out if kept[0] == last else float(any_arm.starts()[kept[0]]),
        upper=float(any_arm.ends()[kept[-1]]),
        confidence=1 - plan.alpha,
        calls=calls,
        method=METHOD,
    )


def _check_enough(arm: Strata, names: list[str], plan: QuantilePlan) -> None:
    for name in names:
        calls = arm[name].calls if name in arm else 0
        if calls < FEWEST_IN_STRATUM:
            raise NotEnough(f"stratum {name} has {calls} calls in an arm, and {FEWEST_IN_STRATUM} are the fewest")
    beyond = sum(arm[name].calls for name in names) * min(plan.quantile, 1 - plan.quantile)
    if beyond < FEWEST_BEYOND:
        wanted = math.ceil(FEWEST_BEYOND / min(plan.quantile, 1 - plan.quantile))
        raise NotEnough(f"quantile {plan.quantile:g} wants {wanted} calls an arm")


def _shares(arm: Strata, weights: Mapping[str, float]) -> tuple[Floats, Floats, Floats]:
    """The weighted share of calls at most as slow as each bin, that before it, and the share's variance: shape (bins,) each."""
    parts: list[tuple[Floats, Floats, Floats]] = []
    for name, weight in weights.items():
        column, calls = arm[name].column(), arm[name].calls
        at_most = np.cumsum(column)
        # Half a call to either side, so that the last bins have a variance too.
        smooth = (at_most - column / 2 + 0.5) / (calls + 1)
        parts.append(
            (weight * at_most / calls, weight * (at_most - column) / calls, weight**2 * smooth * (1 - smooth) / calls)
        )
    at_most, less, variance = (np.sum([part[place] for part in parts], axis=0) for place in range(3))
    return at_most, less, variance


def compare_stratified(
    a: Strata, b: Strata, weights: Mapping[str, float], plan: QuantilePlan, scale: Scale = "ratio"
) -> Estimate:
    """B's quantile in the fixed mix over A's, or less A's in seconds, with its interval."""
    first, second = stratified_interval(a, weights, plan), stratified_interval(b, weights, plan)
    as_ratio = scale == "ratio"
    lower = _end(second.value, second.lower, first.value, first.upper, as_ratio=as_ratio)
    upper = _end(second.value, second.upper, first.value, first.lower, as_ratio=as_ratio)
    return Estimate(
        effect=contrast(first.value, second.value, scale),
        lower=lower if not math.isnan(lower) else (0.0 if as_ratio else -math.inf),
        upper=upper if not math.isnan(upper) else math.inf,
        confidence=1 - plan.alpha,
        calls=first.calls + second.calls,
        units=first.calls + second.calls,
        method=f"{METHOD}, two arms",
        anytime=True,
        scale=scale,
    )


def _end(value: float, end: float, other_value: float, other_end: float, *, as_ratio: bool) -> float:
    """One end of the interval of value - other, or of their ratio; NaN where the data do not bound it."""
    if math.isinf(value) or math.isinf(other_value):
        return math.nan
    if as_ratio:
        logs = [math.log(each) if each < math.inf else math.inf for each in (value, end, other_value, other_end)]
        return math.exp(_square_and_add(*logs))
    return _square_and_add(value, end, other_value, other_end)


def _square_and_add(value: float, end: float, other_value: float, other_end: float) -> float:
    distance = math.hypot(end - value, other_end - other_value)
    return value - other_value + (distance if end > value or other_end < other_value else -distance)
