"""Confidence sequences for yes-or-no outcomes of a live split, from counts alone: valid at every look, and free until one looks.

Robbins' mixture for coin flips (Annals of Mathematical Statistics 41, 1970) with the prior of Krichevsky & Trofimov (IEEE
Transactions on Information Theory 27, 1981): a bet that the rate is not p wins what the mixture explains the counts better
by than p does, and p is refused when the capital passes 1/alpha (Howard et al., Annals of Statistics 49, 2021). For two arms the
capitals are multiplied, as in `quantiles`. It assumes that an arm's units are alike and independent; counts are divided by a
design effect where a unit has several calls, and then it is asymptotic in the number of units.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from plugins.experiments.statistics.checking import Floats, NotEnough, check_level
from plugins.experiments.statistics.distributions import log_gamma
from plugins.experiments.statistics.estimate import Estimate, Interval
from plugins.experiments.statistics.independent import Rate

METHOD = "beta-binomial confidence sequence"
_PRIOR = 0.5
# Rates that are tried: finely near 0 and 1, where those of working engines lie.
_LOGITS = np.linspace(-14.0, 14.0, 4001)
RATES: Floats = 1 / (1 + np.exp(-_LOGITS))


def log_capital(of: Rate) -> Floats:
    """Log of what was won against each of `RATES`: shape (4001,)."""
    effective = of.effective
    yes = of.value * effective
    no = effective - yes
    mixture = (
        log_gamma(_PRIOR + yes)
        + log_gamma(_PRIOR + no)
        - log_gamma(2 * _PRIOR + effective)
        - (2 * math.lgamma(_PRIOR) - math.lgamma(2 * _PRIOR))
    )
    capital: Floats = mixture - yes * np.log(RATES) - no * np.log1p(-RATES)
    return capital


def _ends(kept: npt.NDArray[np.bool_], of: Rate) -> tuple[float, float]:
    """The range of the rates that are kept, to the next one that is tried, so that the grid only widens it."""
    places = np.flatnonzero(kept)
    if not len(places):
        return of.value, of.value
    lower = RATES[places[0] - 1] if places[0] else 0.0
    upper = RATES[places[-1] + 1] if places[-1] + 1 < len(RATES) else 1.0
    return min(float(lower), of.value), max(float(upper), of.value)


def rate_sequence(of: Rate, alpha: float = 0.05) -> Interval:
    """One arm's rate with its interval."""
    lower, upper = _ends(log_capital(of) < math.log(1 / check_level(alpha)), of)
    return Interval(value=of.value, lower=lower, upper=upper, confidence=1 - alpha, calls=of.calls, method=METHOD)


def rate_difference_sequence(a: Rate, b: Rate, alpha: float = 0.1) -> Estimate:
    """The rate of B less that of A; 0.1 makes two one-sided claims of 0.05 each of it."""
    level = math.log(1 / check_level(alpha))
    first, second = log_capital(a), log_capital(b)
    least = float(second.min())
    places = np.flatnonzero(first + least < level)
    if not len(places):
        raise NotEnough("no rate fits the counts")
    # Capital falls to its least and rises again, so B's rates that go with one of A's are a range.
    turn = int(np.argmin(second))
    budget = level - first[places]
    low = np.minimum(turn - np.searchsorted(second[: turn + 1][::-1], budget) + 1, turn)
    high = np.maximum(turn + np.searchsorted(second[turn:], budget) - 1, turn)
    below = np.where(low > 0, RATES[np.maximum(low - 1, 0)], 0.0)
    above = np.where(high + 1 < len(RATES), RATES[np.minimum(high + 1, len(RATES) - 1)], 1.0)
    next_a = np.where(places + 1 < len(RATES), RATES[np.minimum(places + 1, len(RATES) - 1)], 1.0)
    last_a = np.where(places > 0, RATES[np.maximum(places - 1, 0)], 0.0)
    effect = b.value - a.value
    clustered = max(a.design_effect, b.design_effect) > 1
    return Estimate(
        effect=effect,
        lower=max(min(float(np.min(below - next_a)), effect), -1.0),
        upper=min(max(float(np.max(above - last_a)), effect), 1.0),
        confidence=1 - alpha,
        calls=a.calls + b.calls,
        units=(a.conversations or a.calls) + (b.conversations or b.calls),
        method=f"{METHOD}, two arms" + (", counts divided by the design effect (Rao-Scott)" if clustered else ""),
        anytime=True,
    )
