"""Rates of independent arms: Newcombe's published table, statsmodels, exact bounds, and what clustering does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from plugins.experiments.statistics.checking import InvalidSample, NotEnough
from plugins.experiments.statistics.clusters import ratio_of_sums
from plugins.experiments.statistics.independent import Rate, most_failures, rate, rate_difference, score, wilson


def of(successes: int, calls: int) -> Rate:
    return Rate(successes=successes, calls=calls)


# Newcombe, Statistics in Medicine 17, 1998, 873-890, table II, methods 6 and 10: B, A, interval of each.
PUBLISHED = [
    ((56, 70), (48, 80), (0.0528, 0.3382), (0.0524, 0.3339)),
    ((9, 10), (3, 10), (0.1700, 0.8406), (0.1705, 0.8090)),
    ((6, 7), (2, 7), (0.0342, 0.8534), (0.0582, 0.8062)),
    ((5, 56), (0, 29), (-0.0326, 0.1933), (-0.0381, 0.1926)),
    ((0, 10), (0, 20), (-0.1658, 0.2844), (-0.1611, 0.2775)),
    ((10, 10), (0, 10), (0.6636, 1.0000), (0.6075, 1.0000)),
]


@pytest.mark.parametrize(("b", "a", "score_interval", "newcombe"), PUBLISHED)
def test_intervals_are_the_published_ones(b: tuple, a: tuple, score_interval: tuple, newcombe: tuple) -> None:
    found = rate_difference(of(*a), of(*b), 0.95)
    assert (found.lower, found.upper) == pytest.approx(score_interval, abs=6e-5)
    found = rate_difference(of(*a), of(*b), 0.95, "newcombe")
    assert (found.lower, found.upper) == pytest.approx(newcombe, abs=6e-5)


@given(st.integers(0, 50), st.integers(0, 80))
def test_single_rates_and_newcombe_are_statsmodels_s(first: int, second: int) -> None:
    found = wilson(of(first, 50), 0.9)
    assert (found.lower, found.upper) == pytest.approx(proportion_confint(first, 50, 0.1, "wilson"), abs=1e-9)
    both = rate_difference(of(first, 50), of(second, 80), 0.9, "newcombe")
    # statsmodels divides by zero on its way to other measures.
    if first and second:
        wanted = confint_proportions_2indep(second, 80, first, 50, method="newcomb", alpha=0.1)
        assert (both.lower, both.upper) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("difference", [-0.4, -0.02, 0.1, 0.45])
def test_the_score_is_of_the_likeliest_rates(difference: float) -> None:
    a, b = of(30, 70), of(48, 80)

    def unlikely(first: float) -> float:
        return -float(stats.binom.logpmf(30, 70, first) + stats.binom.logpmf(48, 80, first + difference))

    bounds = (max(0, -difference) + 1e-12, min(1, 1 - difference) - 1e-12)
    first = optimize.minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    second = first + difference
    variance = (first * (1 - first) / 70 + second * (1 - second) / 80) * 150 / 149
    assert score(a, b, difference) == pytest.approx((48 / 80 - 30 / 70 - difference) / math.sqrt(variance), rel=1e-5)


@given(st.integers(0, 30), st.integers(0, 40), st.sampled_from(["miettinen_nurminen", "newcombe"]))
def test_the_interval_holds_the_effect_and_turns_with_the_arms(first: int, second: int, method: str) -> None:
    found = rate_difference(of(first, 30), of(second, 40), 0.9, method)  # type: ignore[arg-type]
    turned = rate_difference(of(second, 40), of(first, 30), 0.9, method)  # type: ignore[arg-type]
    assert -1 - 1e-9 <= found.lower <= found.effect <= found.upper <= 1 + 1e-9
    assert (turned.lower, turned.upper) == pytest.approx((-found.upper, -found.lower), abs=1e-9)


@pytest.mark.parametrize("calls", [100, 1000, 4000])
def test_no_failure_leaves_three_in_n(calls: int) -> None:
    assert most_failures(of(calls, calls)) == pytest.approx(3 / calls, rel=0.02)
    assert most_failures(of(calls - 2, calls)) == pytest.approx(stats.beta.ppf(0.95, 3, calls - 2), rel=1e-6)
    assert most_failures(of(0, calls)) == 1


def test_copies_of_a_call_in_its_conversation_count_once() -> None:
    outcomes = np.random.default_rng(1).random(300) < 0.8
    once = rate(outcomes, list(range(300)))
    copied = rate(np.repeat(outcomes, 8), np.repeat(np.arange(300), 8).tolist())
    assert copied.design_effect == pytest.approx(8, rel=0.01)
    wide, naive = wilson(copied), wilson(of(copied.successes, copied.calls))
    assert (wide.lower, wide.upper) == pytest.approx((wilson(once).lower, wilson(once).upper), abs=1e-3)
    assert naive.upper - naive.lower < 0.5 * (wide.upper - wide.lower)


def test_f1_has_the_reference_s_spread() -> None:
    """About 1.06 points at 2,000 calls, 0.74 at 4,000 and 2.0 at 500, where F1 is 0.84 (a third of the calls with tools)."""
    rng = np.random.default_rng(2)
    for calls, points in ((500, 2.0), (2000, 1.06), (4000, 0.74)):
        kinds = rng.multinomial(calls, [0.291, 0.0555, 0.0555, 0.598])
        hit = np.repeat([2.0, 0.0, 0.0, 0.0], kinds)
        all_of = np.repeat([2.0, 1.0, 1.0, 0.0], kinds)
        found = ratio_of_sums(hit.tolist(), all_of.tolist(), 0.95)
        assert found.value == pytest.approx(0.84, abs=0.05)
        assert (found.upper - found.lower) / 2 / 1.96 * 100 == pytest.approx(points, rel=0.15)


def test_what_is_no_rate_is_refused() -> None:
    with pytest.raises(NotEnough, match="without calls"):
        of(0, 0)
    for successes, calls in ((3, 2), (-1, 2), (1, -2)):
        with pytest.raises(InvalidSample):
            of(successes, calls)
    with pytest.raises(NotEnough):
        rate([])
    with pytest.raises(InvalidSample, match="0 or 1"):
        rate([0.3, 1])
    with pytest.raises(InvalidSample, match="confidence"):
        rate_difference(of(1, 2), of(1, 2), 1.0)
    with pytest.raises(NotEnough):
        ratio_of_sums([1.0], [2.0])
    with pytest.raises(NotEnough, match="divide"):
        ratio_of_sums([0.0, 0.0], [0.0, 0.0])
