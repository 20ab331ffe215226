"""How many calls a verdict needs: before an experiment, and how many more during one.

Normal approximations: two one-sided tests at `alpha` each (Liu et al., Statistics in Medicine 21, 2002, for pairs; Julious,
Statistics in Medicine 23, 2004, for arms). With a true difference of 0 both sides can fail: each is given half of the misses.
"""

from __future__ import annotations

import math
from typing import Literal

from plugins.experiments.statistics.asymptotic import critical_value
from plugins.experiments.statistics.checking import InvalidSample, check_level, check_margin
from plugins.experiments.statistics.distributions import normal_quantile, root
from plugins.experiments.statistics.estimate import Estimate

Aim = Literal["equivalence", "non_inferiority"]
# More than this is no plan.
MOST_CALLS = 10_000_000
POWER = 0.9


def pairs_needed(
    discordance: float,
    margin: float,
    *,
    alpha: float = 0.05,
    power: float = POWER,
    difference: float = 0.0,
    aim: Aim = "equivalence",
) -> int:
    """Pairs for a paired difference of rates: `discordance` is the share of pairs on which the arms differ, in (0, 1]."""
    if not 0 < discordance <= 1:
        raise InvalidSample(f"discordance must lie within (0, 1], not {discordance}")
    variance = discordance - difference**2
    return _needed(variance, margin, alpha=alpha, power=power, difference=difference, aim=aim)


def calls_needed_per_arm(
    rate: float,
    margin: float,
    *,
    alpha: float = 0.05,
    power: float = POWER,
    difference: float = 0.0,
    aim: Aim = "equivalence",
) -> int:
    """Calls for each of two equal, independent arms: A's rate is `rate`, B's `rate + difference`, both in (0, 1)."""
    variance = sum(check_level(each, "a rate") * (1 - each) for each in (rate, rate + difference))
    return _needed(variance, margin, alpha=alpha, power=power, difference=difference, aim=aim)


def _needed(variance: float, margin: float, *, alpha: float, power: float, difference: float, aim: Aim) -> int:
    check_margin(margin, 1.0)
    missed = 1 - check_level(power, "power")
    distance = margin - abs(difference) if aim == "equivalence" else margin + difference
    if distance <= 0:
        raise InvalidSample(f"a true difference of {difference} is not within the margin of {margin}")
    both_sides = aim == "equivalence" and difference == 0
    reach = normal_quantile(1 - check_level(alpha)) + normal_quantile(1 - (missed / 2 if both_sides else missed))
    # Rounding of the last bits must not ask for a call more.
    return math.ceil(reach**2 * variance / distance**2 - 1e-9)


def power_of_pairs(pairs: int, discordance: float, margin: float, *, alpha: float = 0.05) -> float:
    """The chance that so many pairs show equivalence, where the arms are equal."""
    reach = check_margin(margin, 1.0) * math.sqrt(pairs / discordance) - normal_quantile(1 - check_level(alpha))
    return max(2 * _normal(reach) - 1, 0.0)


def _normal(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2))


def more_calls(estimate: Estimate, gap: float) -> int | None:
    """About how many calls more until the interval reaches less than `gap` from the effect, with the usual power.

    The interval is taken to shrink as its method's does, the effect to stay where it is: a guess, rounded to two digits. None
    where there is nothing to go by, or where it would take more than `MOST_CALLS`.
    """
    half = _half_width(estimate)
    if not (0 < half < math.inf) or not gap > 0 or estimate.calls <= 0:
        return None
    alpha = 1 - estimate.confidence
    slack = normal_quantile(POWER)
    share = estimate.calls / max(estimate.units, 1)

    def reach(units: float) -> float:
        """What is left to the gap with so many units: the interval's half, and room for the effect to move."""
        error = half / _critical(estimate.units, alpha, anytime=estimate.anytime) * math.sqrt(estimate.units / units)
        return error * (_critical(units, alpha, anytime=estimate.anytime) + slack) - gap

    most = MOST_CALLS / share
    if reach(most) > 0:
        return None
    units = root(reach, float(estimate.units), most) if reach(estimate.units) > 0 else float(estimate.units)
    more = max((units - estimate.units) * share, 1.0)
    digits = int(10 ** max(math.floor(math.log10(more)) - 1, 0))
    return math.ceil(more / digits) * digits


def _half_width(estimate: Estimate) -> float:
    if estimate.scale == "ratio":
        if estimate.lower <= 0:
            return math.inf
        return math.log(estimate.upper / estimate.lower) / 2
    return (estimate.upper - estimate.lower) / 2


def _critical(units: float, alpha: float, *, anytime: bool) -> float:
    """How many standard errors a half-width is; all anytime methods shrink about as the asymptotic one does."""
    if anytime:
        return critical_value(units, alpha, 1000)
    return normal_quantile(1 - alpha / 2)
