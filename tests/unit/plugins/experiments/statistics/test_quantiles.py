"""Latency quantiles: the sketch's error, intervals by the paper's martingale, and comparisons that no time-out makes look fast."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from plugins.experiments.statistics.checking import InvalidSample, NotEnough
from plugins.experiments.statistics.latency_histogram import LEAST_SECONDS, RELATIVE_ERROR, LatencyHistogram, histogram
from plugins.experiments.statistics.quantiles import QuantilePlan, compare_quantiles, log_capital, quantile_interval
from plugins.experiments.statistics.saving import load, save
from plugins.experiments.statistics.stratified_quantiles import compare_stratified, stratified_interval

MEDIAN, P95, P99 = (QuantilePlan(quantile=each) for each in (0.5, 0.95, 0.99))
SECONDS = st.floats(LEAST_SECONDS, 3600)


def latencies(count: int, seed: int, middle: float = -1.0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(middle, 0.5, count))


@given(st.lists(SECONDS, min_size=1, max_size=80), st.floats(0.01, 0.99))
def test_the_sketch_is_within_its_error(seconds: list[float], quantile: float) -> None:
    wanted = float(np.quantile(seconds, quantile, method="inverted_cdf"))
    found = histogram(seconds).value(quantile)
    # Rounding may put p·n on either side of a whole number.
    near = [
        float(np.quantile(seconds, min(max(quantile + step, 0), 1), method="inverted_cdf")) for step in (-1e-9, 1e-9)
    ]
    assert min(abs(found / each - 1) for each in (wanted, *near)) <= RELATIVE_ERROR * 1.001


def test_parts_merge_into_the_whole_and_survive_a_restart() -> None:
    seconds = latencies(500, 1)
    one, other = histogram(seconds[:200], timed_out=3), histogram(seconds[200:], timed_out=2)
    one.merge(load(LatencyHistogram, save(other)))
    assert one == histogram(seconds, timed_out=5)
    assert one.calls == 505
    assert len(save(one)) < 2000


def test_the_capital_is_the_beta_mixture() -> None:
    """Against scipy's beta function, with the prior that the plan asks for."""
    found = log_capital(np.array([40.0, 95.0, 120.0]), 130.0, P95)
    doubt = -2 * math.log(0.05)
    strength = max(1000 / (doubt + math.log(doubt + 1)), 0.5 / 0.05)
    a, b = strength * 0.95, strength * 0.05
    for below, capital in zip((40, 95, 120), found, strict=True):
        wanted = special.betaln(a + below, b + 130 - below) - special.betaln(a, b)
        assert capital == pytest.approx(wanted - below * math.log(0.95) - (130 - below) * math.log(0.05), rel=1e-9)


@pytest.mark.parametrize("plan", [MEDIAN, P95, P99], ids=lambda plan: f"p{100 * plan.quantile:g}")
def test_an_interval_s_ends_are_calls_of_the_right_ranks(plan: QuantilePlan) -> None:
    seconds = np.sort(latencies(1500, 2))
    found = quantile_interval(histogram(seconds), plan)
    kept = [k for k in range(1501) if log_capital(np.array(float(k)), 1500.0, plan) < math.log(1 / 0.05)]
    lower = seconds[kept[0] - 1]
    upper = seconds[kept[-1]] if kept[-1] < 1500 else math.inf
    assert found.lower == pytest.approx(lower, rel=3 * RELATIVE_ERROR)
    assert found.upper == pytest.approx(upper, rel=3 * RELATIVE_ERROR)
    assert found.lower <= lower
    assert found.upper >= upper


@pytest.mark.parametrize("plan", [MEDIAN, P95], ids=lambda plan: f"p{100 * plan.quantile:g}")
def test_a_comparison_ranges_over_all_pairs_that_are_kept(plan: QuantilePlan) -> None:
    """Against a search over every pair of bins."""
    a, b = histogram(latencies(300, 3)), histogram(latencies(200, 4))
    from plugins.experiments.statistics.quantiles import least_log_capital  # noqa: PLC0415 (only here)

    first, second = least_log_capital(a, plan), least_log_capital(b, plan)
    kept = first[:, None] + second[None, :] < math.log(1 / 0.05)
    rows, columns = np.nonzero(kept)
    found = compare_quantiles(a, b, plan)
    assert found.lower == pytest.approx((b.starts()[columns] / a.ends()[rows]).min())
    assert found.upper == pytest.approx((b.ends()[columns] / a.starts()[rows]).max())
    difference = compare_quantiles(a, b, plan, "difference")
    assert difference.lower == pytest.approx((b.starts()[columns] - a.ends()[rows]).min())


@pytest.mark.parametrize("plan", [MEDIAN, P95, P99], ids=lambda plan: f"p{100 * plan.quantile:g}")
def test_a_slower_arm_is_found_and_arms_turn(plan: QuantilePlan) -> None:
    a, b = histogram(latencies(6000, 5)), histogram(1.3 * latencies(6000, 6))
    strata = {"all": 1.0}
    for found, turned in (
        (compare_quantiles(a, b, plan), compare_quantiles(b, a, plan)),
        (
            compare_stratified({"all": a}, {"all": b}, strata, plan),
            compare_stratified({"all": b}, {"all": a}, strata, plan),
        ),
    ):
        assert 1 < found.lower < 1.3 < found.upper < 1.7
        assert (turned.lower, turned.upper) == pytest.approx((1 / found.upper, 1 / found.lower))
        assert found.anytime


def test_what_timed_out_is_slow_not_missing() -> None:
    quick = latencies(2000, 7)
    a = histogram(quick, time_out_seconds=30)
    failing = histogram(quick[: 2000 - 200], timed_out=200, time_out_seconds=30)
    assert failing.value(0.95) == math.inf
    assert quantile_interval(failing, P95).lower == 30
    found = compare_quantiles(a, failing, P95)
    assert found.effect == math.inf
    assert found.lower > 20
    assert compare_quantiles(failing, a, P95).upper < 0.05
    late = LatencyHistogram(time_out_seconds=30)
    late.add(31.0)
    assert late.timed_out == 1
    both = compare_quantiles(failing, failing, P95)
    assert (both.lower, both.upper) == (pytest.approx(0), math.inf)


def test_dependence_between_calls_widens() -> None:
    a, b = histogram(latencies(2000, 8)), histogram(latencies(2000, 9))
    plain, wide = compare_quantiles(a, b, MEDIAN), compare_quantiles(a, b, MEDIAN, design_effects=(4, 4))
    assert wide.lower < plain.lower
    assert wide.upper > plain.upper
    with pytest.raises(InvalidSample, match="design effect"):
        compare_quantiles(a, b, MEDIAN, design_effects=(0.5, 1))


def test_fixed_weights_take_the_mix_out() -> None:
    """Equal engines, but B got the long prompts: the plain ratio says slower, the stratified one does not."""
    a = {"short": histogram(latencies(1800, 10)), "long": histogram(latencies(200, 11, middle=1))}
    b = {"short": histogram(latencies(1000, 12)), "long": histogram(latencies(1000, 13, middle=1))}
    whole = [histogram([], timed_out=0) for _ in "ab"]
    for all_of, arm in zip(whole, (a, b), strict=True):
        for part in arm.values():
            all_of.merge(part)
    assert compare_quantiles(*whole, MEDIAN).lower > 1
    found = compare_stratified(a, b, {"short": 0.7, "long": 0.3}, MEDIAN)
    assert found.lower < 1 < found.upper
    mixed = np.concatenate([latencies(70_000, 14), latencies(30_000, 15, middle=1)])
    assert stratified_interval(b, {"short": 7, "long": 3}, MEDIAN).value == pytest.approx(np.median(mixed), rel=0.06)


def test_too_little_is_not_enough_and_what_is_wrong_is_refused() -> None:
    a = histogram(latencies(50, 16))
    with pytest.raises(NotEnough):
        compare_quantiles(a, LatencyHistogram(), MEDIAN)
    with pytest.raises(NotEnough, match="stratum long"):
        stratified_interval({"short": a}, {"short": 1, "long": 1}, MEDIAN)
    with pytest.raises(NotEnough, match="1000 calls"):
        stratified_interval({"short": a}, {"short": 1}, P99)
    with pytest.raises(InvalidSample, match="no weight"):
        stratified_interval({"short": a, "long": a}, {"short": 1}, MEDIAN)
    for seconds in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidSample):
            a.add(seconds)
    for quantile, alpha in ((0, 0.05), (1, 0.05), (0.5, 0), (0.5, 1)):
        with pytest.raises(InvalidSample):
            QuantilePlan(quantile=quantile, alpha=alpha)
    with pytest.raises(InvalidSample, match="time-out"):
        LatencyHistogram(time_out_seconds=0)
