"""Paired yes-or-no outcomes: the same call asked of both arms; the difference of their rates, tested against a margin.

Interval: Tango's score interval (Statistics in Medicine 17, 1998). Tests: non-inferiority and equivalence by its restricted
likelihood (Liu, Hsueh, Hsieh & Chen, Statistics in Medicine 21, 2002); McNemar's exact test beside them. Conversations: counts
divided by the design effect of the differences (Rao & Scott 1992; see clusters.py) and Student's t. For a number of pairs that was
set beforehand: not for peeking.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from msgspec import Struct

from plugins.experiments.statistics.checking import (
    Floats,
    InvalidSample,
    NotEnough,
    check_binary,
    check_count,
    check_level,
    check_margin,
)
from plugins.experiments.statistics.clusters import by_conversation, design_effect
from plugins.experiments.statistics.distributions import beta_probability, binomial_tail, root, t_quantile
from plugins.experiments.statistics.estimate import Estimate

METHOD = "Tango score interval, paired"


class PairedTable(Struct, frozen=True, kw_only=True):
    """How often both arms succeeded on the same call, only one of them did, or none.

    Attributes:
        both, only_a, only_b, neither: numbers of pairs.
        conversations: how many the pairs are of; as many as there are pairs if each is its own.
        design_effect: what clustering raises the variance by, 1 or more.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    conversations: int = 0
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        """Refuse negative counts and an empty table."""
        for count in (self.both, self.only_a, self.only_b, self.neither, self.conversations):
            check_count(count)
        if not self.pairs:
            raise NotEnough("no pairs")
        if not self.design_effect >= 1:
            raise InvalidSample(f"a design effect is 1 or more, not {self.design_effect}")

    @property
    def pairs(self) -> int:
        """How many."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def effect(self) -> float:
        """The rate of B less that of A."""
        return (self.only_b - self.only_a) / self.pairs

    @property
    def discordance(self) -> float:
        """The share of pairs on which the arms differ."""
        return (self.only_a + self.only_b) / self.pairs

    @property
    def degrees(self) -> float:
        """Of freedom of the spread between conversations; infinite where pairs are independent."""
        return max(self.conversations - 1, 1) if self.conversations else math.inf


def paired_table(
    a: Sequence[float], b: Sequence[float], conversations: Sequence[Hashable] | None = None
) -> PairedTable:
    """Count pairs of outcomes, 0 or 1, of the same calls in the same order: shape (pairs,) each."""
    first, second = check_binary(a, "outcomes of A"), check_binary(b, "outcomes of B")
    if len(first) != len(second):
        raise InvalidSample(f"{len(first)} outcomes of A, but {len(second)} of B: not pairs")
    return PairedTable(
        both=int(np.sum(first * second)),
        only_a=int(np.sum(first * (1 - second))),
        only_b=int(np.sum((1 - first) * second)),
        neither=int(np.sum((1 - first) * (1 - second))),
        conversations=len(set(conversations)) if conversations is not None else 0,
        design_effect=_design_effect(second - first, conversations) if conversations is not None else 1.0,
    )


def _design_effect(differences: Floats, conversations: Sequence[Hashable]) -> float:
    clusters = by_conversation(differences, conversations)
    informative = int(np.sum(clusters.nonzero > 0))
    return design_effect(clusters, float(np.var(differences)), informative)


def score(table: PairedTable, difference: float) -> float:
    """Tango's score: how many standard errors the table lies above a true difference of B less A, in (-1, 1)."""
    pairs = table.pairs / table.design_effect
    more, less = table.only_b / table.design_effect, table.only_a / table.design_effect
    quadratic, linear = 2 * pairs, -more - less + (2 * pairs - more + less) * difference
    constant = -less * difference * (1 - difference)
    # The likeliest rate of "only A", given the difference.
    restricted = (math.sqrt(max(linear**2 - 4 * quadratic * constant, 0.0)) - linear) / (2 * quadratic)
    variance = pairs * (2 * restricted + difference * (1 - difference))
    distance = more - less - pairs * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


def paired_difference(table: PairedTable, confidence: float = 0.9) -> Estimate:
    """The rate of B less that of A with Tango's interval; 0.9 makes two one-sided tests of 0.05 each of it."""
    critical = t_quantile((1 + check_level(confidence, "confidence")) / 2, table.degrees)
    effect = table.effect
    # The score falls from one end to the other: where it is the critical value, the interval ends.
    lower = root(lambda d: score(table, d) - critical, -1.0, effect) if score(table, -1.0) > critical else -1.0
    upper = root(lambda d: score(table, d) + critical, effect, 1.0) if score(table, 1.0) < -critical else 1.0
    return Estimate(
        effect=effect,
        lower=min(lower, effect),
        upper=max(upper, effect),
        confidence=confidence,
        calls=table.pairs,
        units=table.conversations or table.pairs,
        method=METHOD + (", clustered by conversation (Rao-Scott)" if table.conversations else ""),
    )


class MarginTests(Struct, frozen=True, kw_only=True):
    """p-values for a fixed number of pairs.

    Attributes:
        not_inferior: of B being worse by the margin or more.
        not_superior: of B being better by the margin or more.
        equivalent: the larger of the two (TOST).
        mcnemar: of the rates being the same, exact, two-sided; ignores conversations: a check, no verdict rests on it.
    """

    not_inferior: float
    not_superior: float
    equivalent: float
    mcnemar: float


def margin_tests(table: PairedTable, margin: float) -> MarginTests:
    """Test the margin, as a difference of rates in (0, 1) that was set before the data were seen."""
    check_margin(margin, 1.0)
    worse = _tail(score(table, -margin), table.degrees)
    better = _tail(-score(table, margin), table.degrees)
    return MarginTests(
        not_inferior=worse,
        not_superior=better,
        equivalent=max(worse, better),
        mcnemar=mcnemar(table.only_a, table.only_b),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """McNemar's exact test of equal rates, two-sided: a fair coin for each pair on which the arms differ."""
    discordant = check_count(only_a) + check_count(only_b)
    return min(2 * binomial_tail(max(only_a, only_b), discordant, 0.5), 1.0)


def _tail(value: float, degrees: float) -> float:
    """P(T > value) of Student's t; the normal one for infinite degrees."""
    if math.isinf(degrees):
        return 0.5 * math.erfc(value / math.sqrt(2))
    half = 0.5 * beta_probability(degrees / (degrees + value * value), degrees / 2, 0.5)
    return half if value > 0 else 1 - half
