"""Calls of one conversation are not independent: totals by conversation, robust errors, design effects.

Sources: the linearised variance of a ratio of cluster totals (Cochran, Sampling Techniques, 1977, chapter 11; for paired rates
Obuchowski, Statistics in Medicine 17, 1998) and dividing counts by the design effect (Rao & Scott, Biometrics 48, 1992).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from plugins.experiments.statistics.checking import Floats, InvalidSample, NotEnough, check_column, check_level
from plugins.experiments.statistics.distributions import t_quantile
from plugins.experiments.statistics.estimate import Interval

# With fewer conversations that tell anything, a design effect cannot be estimated: the worst one is taken.
FEWEST_INFORMATIVE = 10


class Clusters(NamedTuple):
    """Conversations: sums of their calls' values, numbers of calls, and of values other than 0; each of shape (conversations,)."""

    totals: Floats
    sizes: Floats
    nonzero: Floats


def by_conversation(values: Floats, conversations: Sequence[Hashable]) -> Clusters:
    """Sum up one value a call by the conversation that the call is of."""
    column = check_column(values)
    if len(conversations) != len(column):
        raise InvalidSample(f"{len(column)} calls, but conversations of {len(conversations)}")
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(each, len(places)) for each in conversations])
    return Clusters(
        np.bincount(index, column).astype(np.float64),
        np.bincount(index).astype(np.float64),
        np.bincount(index, column != 0).astype(np.float64),
    )


def standard_error(numerators: Floats, denominators: Floats) -> float:
    """The robust standard error of Σ numerators / Σ denominators, one of each a conversation; two conversations at least."""
    count = len(numerators)
    if count < 2:  # noqa: PLR2004 (a spread needs two)
        raise NotEnough("a spread needs two conversations at least")
    whole = float(denominators.sum())
    if whole <= 0:
        raise NotEnough("nothing to divide by")
    residuals = numerators - denominators * (numerators.sum() / whole)
    return math.sqrt(count / (count - 1) * float(np.sum(residuals**2))) / whole


def ratio_of_sums(numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95) -> Interval:
    """Σ numerators / Σ denominators over conversations, e.g. F1 = Σ 2TP / Σ (2TP + FP + FN) or the mean of a call.

    The interval is the linearised one with Student's t, for a fixed number of conversations: not for peeking.
    """
    above, below = check_column(numerators, name="numerators"), check_column(denominators, 0, name="denominators")
    if len(above) != len(below):
        raise InvalidSample(f"{len(above)} numerators, but {len(below)} denominators")
    error = standard_error(above, below)
    value = float(above.sum() / below.sum())
    half = t_quantile((1 + check_level(confidence, "confidence")) / 2, len(above) - 1) * error
    return Interval(
        value=value,
        lower=value - half,
        upper=value + half,
        confidence=confidence,
        calls=len(above),
        method="linearised ratio, clustered",
    )


def design_effect(clusters: Clusters, variance: float, informative: int) -> float:
    """By how much clustering raises the variance of the mean of all calls, 1 or more; `variance` is that of a single call's value.

    `informative` is the number of conversations with a value that is not the common one. Below `FEWEST_INFORMATIVE` the worst case
    is taken, in which all calls of a conversation are alike.
    """
    calls = float(clusters.sizes.sum())
    worst = float(np.sum(clusters.sizes**2)) / calls
    if variance <= 0 or informative < FEWEST_INFORMATIVE:
        return worst
    robust = standard_error(clusters.totals, clusters.sizes) ** 2
    return min(max(robust * calls / variance, 1.0), worst)
