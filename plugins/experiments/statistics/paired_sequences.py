"""Confidence sequences for paired yes-or-no outcomes, from counts alone: the same call asked of both arms, valid at every look.

A bet that the true difference of the rates lies above some value multiplies its capital by a constant for each kind of pair (only
B, alike, only A), so what it has won follows from the counts, in whatever order and on whatever node they came. Universal
portfolios mix all sizes of the bet with Cover & Ordentlich's Beta(1/2, 1/2) (IEEE Transactions on Information Theory 42, 1996); a
value is refused when the capital passes 2/alpha on one side (Orabona & Jun, IEEE Transactions on Information Theory 70, 2024;
betting: Waudby-Smith & Ramdas, JRSS B 86, 2024). Nothing is assumed of how often pairs differ; but units are to be alike and
independent. Counts are divided by a design effect where a unit has several pairs, and then it is asymptotic in their number.
"""

from __future__ import annotations

import math

import numpy as np

from plugins.experiments.statistics.checking import Floats, check_level
from plugins.experiments.statistics.distributions import root
from plugins.experiments.statistics.estimate import Estimate
from plugins.experiments.statistics.paired import PairedTable

METHOD = "universal portfolio confidence sequence, paired"
# Shares of the capital that are bet, at the quantiles of Beta(1/2, 1/2): fine near 0 and 1.
_SHARES: Floats = np.sin((np.arange(128) + 0.5) / 128 * np.pi / 2) ** 2


def paired_difference_sequence(table: PairedTable, alpha: float = 0.1) -> Estimate:
    """The rate of B less that of A; 0.1 makes two one-sided claims of 0.05 each of it."""
    level, effect = math.log(2 / check_level(alpha)), table.effect
    # Capital only falls while the value that it bets against rises.
    lower = root(lambda value: log_capital(table, value) - level, -1.0, effect) if effect > -1 else -1.0
    mirrored = _other_way(table)
    upper = -root(lambda value: log_capital(mirrored, value) - level, -1.0, -effect) if effect < 1 else 1.0
    clustered = ", counts divided by the design effect (Rao-Scott)" if table.design_effect > 1 else ""
    return Estimate(
        effect=effect,
        lower=min(lower, effect),
        upper=max(upper, effect),
        confidence=1 - alpha,
        calls=table.pairs,
        units=table.conversations or table.pairs,
        method=METHOD + clustered,
        anytime=True,
    )


def log_capital(table: PairedTable, least: float) -> float:
    """Log of what was won by betting that the true difference of B less A is above `least`, in (-1, 1]; infinite at -1."""
    if least <= -1:
        return math.inf
    lost, won, even = (
        count / table.design_effect for count in (table.only_a, table.only_b, table.both + table.neither)
    )
    # A pair pays 0, 1 or 2 where a fair one pays 1 + least.
    logs = (
        lost * np.log1p(-_SHARES)
        + even * np.log1p(_SHARES * (1 / (1 + least) - 1))
        + won * np.log1p(_SHARES * (2 / (1 + least) - 1))
    )
    most = float(logs.max())
    return most + math.log(float(np.mean(np.exp(logs - most))))


def leaves_out(table: PairedTable, difference: float, alpha: float) -> bool:
    """Whether a difference is outside of the interval."""
    level = math.log(2 / check_level(alpha))
    return max(log_capital(table, difference), log_capital(_other_way(table), -difference)) >= level


def _other_way(table: PairedTable) -> PairedTable:
    return PairedTable(
        both=table.both,
        only_a=table.only_b,
        only_b=table.only_a,
        neither=table.neither,
        conversations=table.conversations,
        design_effect=table.design_effect,
    )
