"""Evidence that may be gathered at any time and combined over endpoints: e-values and the e-BH procedure.

Wang & Ramdas, False discovery rate control with e-values (JRSS-B 84, 2022). An e-value has mean 1 at most where its null holds;
1/alpha or more refuses the null at level alpha whenever one looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from plugins.experiments.statistics.checking import InvalidSample, check_level


def _check(values: Sequence[float]) -> None:
    if any(math.isnan(each) for each in values):
        raise InvalidSample("an e-value is no number")


def all_refused(log_e_values: Sequence[float]) -> float:
    """Log e-value against "at least one of these nulls holds": the least. Equivalence: of "worse" and "better" by the margin."""
    _check(log_e_values)
    if not log_e_values:
        raise InvalidSample("no e-values")
    return min(log_e_values)


def averaged(log_e_values: Sequence[float]) -> float:
    """Log e-value against "all of these nulls hold", however they depend on each other: the mean of the e-values."""
    _check(log_e_values)
    if not log_e_values:
        raise InvalidSample("no e-values")
    return float(np.logaddexp.reduce(log_e_values)) - math.log(len(log_e_values))


def e_bh(log_e_values: Mapping[str, float], alpha: float) -> frozenset[str]:
    """The endpoints whose nulls are refused, of which a share alpha at most are so wrongly (on average), however they depend.

    Refuses the k largest for the largest k with e_(k) ≥ K / (alpha k), K the number of endpoints.
    """
    check_level(alpha)
    _check(list(log_e_values.values()))
    ranked = sorted(log_e_values, key=lambda name: -log_e_values[name])
    refused = 0
    for place, name in enumerate(ranked, 1):
        if log_e_values[name] >= math.log(len(ranked) / (alpha * place)):
            refused = place
    return frozenset(ranked[:refused])
