"""Paired rates: published intervals, scipy's and statsmodels' figures, and what clustering does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from plugins.experiments.statistics.checking import InvalidSample, NotEnough
from plugins.experiments.statistics.clusters import by_conversation, standard_error
from plugins.experiments.statistics.paired import (
    PairedTable,
    margin_tests,
    mcnemar,
    paired_difference,
    paired_table,
    score,
)

COUNTS = st.integers(0, 60)


def table(only_a: int, only_b: int, pairs: int) -> PairedTable:
    return PairedTable(both=pairs - only_a - only_b, only_a=only_a, only_b=only_b, neither=0)


def test_tango_s_interval_is_the_published_one() -> None:
    """Airway reactivity of 21 children, of Fagerland, Lydersen & Laake (Statistics in Medicine 33, 2014, table IV)."""
    found = paired_difference(table(7, 1, 21), confidence=0.95)
    assert (round(found.effect, 3), round(found.lower, 3), round(found.upper, 3)) == (-0.286, -0.517, -0.026)


def likeliest(only_a: int, only_b: int, pairs: int, difference: float) -> float:
    """The share of "only A" that makes the table likeliest, given the difference; by scipy's search instead of the closed form."""

    def unlikely(share: float) -> float:
        rest = 1 - 2 * share - difference
        return -(
            only_a * math.log(share)
            + only_b * math.log(share + difference)
            + (pairs - only_a - only_b) * math.log(rest)
        )

    low, high = max(0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12
    return float(optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x)


@pytest.mark.parametrize(("only_a", "only_b", "pairs"), [(7, 1, 21), (20, 40, 160), (3, 3, 500)])
@pytest.mark.parametrize("difference", [-0.2, -0.01, 0.03, 0.2])
def test_the_score_is_of_the_likeliest_table(only_a: int, only_b: int, pairs: int, difference: float) -> None:
    share = likeliest(only_a, only_b, pairs, difference)
    variance = (2 * share + difference - difference**2) / pairs
    wanted = ((only_b - only_a) / pairs - difference) / math.sqrt(variance)
    assert score(table(only_a, only_b, pairs), difference) == pytest.approx(wanted, rel=1e-4)


@given(COUNTS, COUNTS, st.integers(1, 400))
def test_the_interval_holds_the_effect_and_turns_with_the_arms(only_a: int, only_b: int, rest: int) -> None:
    found = paired_difference(table(only_a, only_b, only_a + only_b + rest))
    turned = paired_difference(table(only_b, only_a, only_a + only_b + rest))
    assert -1 <= found.lower <= found.effect <= found.upper <= 1
    assert (turned.lower, turned.upper) == pytest.approx((-found.upper, -found.lower), abs=1e-9)


@given(COUNTS, COUNTS, st.integers(1, 400), st.floats(0.005, 0.5))
def test_tests_and_interval_say_the_same(only_a: int, only_b: int, rest: int, margin: float) -> None:
    counted = table(only_a, only_b, only_a + only_b + rest)
    found, tests = paired_difference(counted, confidence=0.9), margin_tests(counted, margin)
    if min(abs(found.lower + margin), abs(found.upper - margin)) > 1e-6:
        assert (tests.equivalent < 0.05) == (-margin < found.lower and found.upper < margin)
        assert (tests.not_inferior < 0.05) == (-margin < found.lower)


def test_a_few_pairs_without_a_difference_show_no_equivalence() -> None:
    assert margin_tests(table(0, 0, 20), 0.01).equivalent > 0.05
    found = paired_difference(table(0, 0, 300), confidence=0.9)
    # The rule of three, of two sides: about z² / n.
    assert found.upper == pytest.approx(stats.norm.ppf(0.95) ** 2 / 300, rel=0.02)


def test_power_and_false_claims_summed_over_every_table() -> None:
    """At the reference's 2,165 pairs: the normal formula's 0.9 is 0.874, since 43 discordant pairs are few."""
    pairs, discordance, margin = 2165, 0.02, 0.01
    critical = stats.norm.ppf(0.95)
    equivalent = false = 0.0
    for count in range(15, 80):
        for only_b in range(count + 1):
            counted = table(count - only_b, only_b, pairs)
            if score(counted, -margin) <= critical:
                continue
            chance = stats.binom.pmf(count, pairs, discordance)
            false += chance * stats.binom.pmf(only_b, count, (discordance - margin) / 2 / discordance)
            if score(counted, margin) < -critical:
                equivalent += chance * stats.binom.pmf(only_b, count, 0.5)
    assert equivalent == pytest.approx(0.874, abs=0.001)
    assert false == pytest.approx(0.047, abs=0.001)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 7), (12, 30), (5, 5)])
def test_mcnemar_is_statsmodels_s(only_a: int, only_b: int) -> None:
    wanted = reference_mcnemar([[10, only_a], [only_b, 10]], exact=True).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(wanted)
    assert margin_tests(table(only_a, only_b, 100), 0.1).mcnemar == mcnemar(only_a, only_b)


def test_the_spread_between_conversations_is_statsmodels_s() -> None:
    rng = np.random.default_rng(5)
    ids = np.sort(rng.integers(0, 40, 300))
    values = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.8, 0.1])
    clusters = by_conversation(values, ids.tolist())
    fitted = sm.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": ids, "use_correction": True})
    # statsmodels' correction is K/(K-1) (N-1)/(N-1) for one parameter.
    assert standard_error(clusters.totals, clusters.sizes) == pytest.approx(fitted.bse[0], rel=1e-9)


def test_calls_that_are_alike_in_a_conversation_count_once() -> None:
    """Ten copies of each pair are no more than the pair itself."""
    rng = np.random.default_rng(6)
    a, b = rng.random(400) < 0.9, rng.random(400) < 0.9
    once = paired_difference(paired_table(a, b, list(range(400))))
    copied = paired_difference(paired_table(np.repeat(a, 10), np.repeat(b, 10), np.repeat(np.arange(400), 10).tolist()))
    naive = paired_difference(paired_table(np.repeat(a, 10), np.repeat(b, 10)))
    assert copied.upper - copied.lower == pytest.approx(once.upper - once.lower, rel=0.01)
    assert naive.upper - naive.lower < 0.4 * (copied.upper - copied.lower)
    assert (copied.calls, copied.units) == (4000, 400)


def test_with_few_conversations_that_differ_the_worst_is_taken() -> None:
    a, b = np.ones(200), np.ones(200)
    b[:3] = 0
    counted = paired_table(a, b, np.repeat(np.arange(20), 10).tolist())
    assert counted.design_effect == 10
    assert margin_tests(counted, 0.05).not_inferior > margin_tests(paired_table(a, b), 0.05).not_inferior


@pytest.mark.parametrize(
    ("a", "b"),
    [([], []), ([1, 0], [1]), ([1, math.nan], [1, 0]), ([0.5, 1], [1, 0]), ([2, 1], [1, 0]), ([[1, 0]], [[1, 0]])],
)
def test_what_is_no_pair_of_outcomes_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(InvalidSample):
        paired_table(a, b)


def test_levels_and_margins_that_are_none_are_refused() -> None:
    counted = table(1, 1, 50)
    for margin in (0, -0.01, 1, math.nan, math.inf):
        with pytest.raises(InvalidSample, match="margin"):
            margin_tests(counted, margin)
    for confidence in (0, 1, math.nan, 95):
        with pytest.raises(InvalidSample, match="confidence"):
            paired_difference(counted, confidence)
    with pytest.raises(NotEnough):
        PairedTable(both=0, only_a=0, only_b=0, neither=0)
    with pytest.raises(InvalidSample):
        PairedTable(both=-1, only_a=0, only_b=4, neither=0)
    with pytest.raises(InvalidSample, match="conversations"):
        paired_table([1, 0], [1, 0], ["one"])


def test_counts_that_are_no_numbers_are_refused() -> None:
    for count in (math.nan, math.inf, 1.5):
        with pytest.raises(InvalidSample, match="whole number"):
            mcnemar(count, 1)  # type: ignore[arg-type]
