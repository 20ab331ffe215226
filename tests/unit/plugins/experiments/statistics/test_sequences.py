"""Sequences for means: against the papers' formulas in one piece, saved and loaded, on the way down to nothing, and refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.experiments.statistics.asymptotic import (
    FIRST_UNIT,
    AsymptoticMean,
    critical_value,
    difference_half_width,
    mean_difference,
)
from plugins.experiments.statistics.betting import BettingMean, betting_mean
from plugins.experiments.statistics.checking import InvalidSample
from plugins.experiments.statistics.empirical_bernstein import DriftingMean, PlugInMean, plug_in_mean, stitched
from plugins.experiments.statistics.saving import load, save
from tests.performance.statistics.findings import Finding

ALPHA = 0.05
MAKERS: dict[str, Callable[[], Any]] = {
    "plug_in": lambda: plug_in_mean(ALPHA),
    "betting": lambda: betting_mean(ALPHA),
    "drifting": lambda: DriftingMean(alpha=ALPHA),
    "asymptotic": lambda: AsymptoticMean(alpha=ALPHA),
}


def values(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).beta(2, 5, count)


def fed(state: Any, numbers: Any) -> Any:
    for number in numbers:
        state.add(float(number))
    return state


def bets(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paper's λ of each round, and the means before it: written with whole columns, not step by step."""
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    return np.sqrt(2 * np.log(2 / ALPHA) / (before * t * np.log(1 + t))), np.concatenate([[0.5], mean[:-1]])


def test_the_plug_in_is_theorem_2() -> None:
    x = values(400)
    bet, mean = bets(x)
    bet = np.minimum(bet, 0.5)
    weight = np.cumsum(bet)
    cost = np.cumsum(4 * (x - mean) ** 2 * (-np.log(1 - bet) - bet) / 4)
    middle, half = np.cumsum(bet * x) / weight, (np.log(2 / ALPHA) + cost) / weight
    found = fed(plug_in_mean(ALPHA), x).estimate()
    assert found.lower == pytest.approx(np.max(middle - half))
    assert found.upper == pytest.approx(np.min(middle + half))
    assert found.effect == pytest.approx(x.mean())


@pytest.mark.parametrize("mean", [0.1, 0.25, 0.285, 0.5])
def test_the_capital_is_theorem_3(mean: float) -> None:
    x = values(300)
    bet, _ = bets(x)
    above = np.cumsum(np.log(1 + np.minimum(bet, 0.5 / mean) * (x - mean)))
    below = np.cumsum(np.log(1 - np.minimum(bet, 0.5 / (1 - mean)) * (x - mean)))
    state = fed(betting_mean(ALPHA, margins=(mean,)), x)
    assert state.log_e_above(mean) == pytest.approx(above[-1])
    assert state.log_e_below(mean) == pytest.approx(below[-1])
    found = state.estimate()
    refused = max(above.max(), below.max()) >= math.log(2 / ALPHA)
    assert refused == (not found.lower < mean < found.upper)


def test_the_stitched_boundary_is_the_paper_s_closed_form() -> None:
    """Howard et al. 2021, equation (2): 1.7 sqrt(v (log log 2v + 0.72 log(5.2 / alpha))), for a scale that no longer matters."""
    for spread in (1e5, 1e7, 1e9):
        wanted = 1.7 * math.sqrt(spread * (math.log(math.log(2 * spread)) + 0.72 * math.log(5.2 / 0.025)))
        assert stitched(spread, 0.025) == pytest.approx(wanted, rel=0.02)


def test_the_asymptotic_sequence_has_the_reference_s_price() -> None:
    """Half-widths 1.55 to 1.67 times those of a fixed n, from a quarter of the planned units to ten times as many."""
    prices = [critical_value(1000 * times, ALPHA, 1000) / 1.959964 for times in (0.25, 0.5, 1, 2, 5, 10)]
    assert min(prices) == pytest.approx(1.55, abs=0.005)
    assert max(prices) == pytest.approx(1.67, abs=0.01)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_state_goes_on_where_it_was_saved(kind: str) -> None:
    x = values(300)
    whole, half = fed(MAKERS[kind](), x), fed(MAKERS[kind](), x[:150])
    resumed = fed(load(type(half), save(half)), x[150:])
    assert resumed.estimate() == whole.estimate()
    assert save(resumed) == save(whole)
    with pytest.raises(msgspec.ValidationError):
        load(PlugInMean if kind != "plug_in" else BettingMean, save(half))


@pytest.mark.parametrize("kind", MAKERS)
def test_intervals_close_in_on_the_mean(kind: str) -> None:
    widths = []
    state = MAKERS[kind]()
    for part in np.split(values(4000), 4):
        found = fed(state, part).estimate()
        assert found.lower <= 2 / 7 <= found.upper
        assert found.anytime
        widths.append(found.upper - found.lower)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.05


def test_betting_is_tighter_than_the_plug_in_and_that_than_the_stitched() -> None:
    x = values(2000)
    widths = [
        each.upper - each.lower
        for each in (fed(MAKERS[kind](), x).estimate() for kind in ("betting", "plug_in", "drifting"))
    ]
    assert widths == sorted(widths)


def test_a_planned_size_is_where_betting_is_tighter() -> None:
    rng = np.random.default_rng(8)
    x = rng.choice([-1.0, 0.0, 1.0], 3000, p=[0.05, 0.9, 0.05])
    plain, planned = fed(betting_mean(ALPHA, -1, 1), x), fed(betting_mean(ALPHA, -1, 1, planned_units=3000), x)
    assert planned.upper - planned.lower < plain.upper - plain.lower


@given(st.lists(st.floats(0, 1), max_size=60), st.sampled_from(list(MAKERS)))
def test_no_values_whatever_make_an_interval_that_is_none(numbers: list[float], kind: str) -> None:
    found = fed(MAKERS[kind](), numbers).estimate()
    assert found.lower <= found.upper
    assert found.calls == len(numbers)


@pytest.mark.parametrize("kind", ["plug_in", "betting", "drifting"])
def test_no_values_leave_the_whole_range(kind: str) -> None:
    found = MAKERS[kind]().estimate()
    assert (found.lower, found.upper, found.calls) == (0, 1, 0)


def test_the_asymptotic_sequence_says_nothing_early_or_of_values_all_alike() -> None:
    early = fed(AsymptoticMean(alpha=ALPHA), values(FIRST_UNIT - 1)).estimate()
    alike = fed(AsymptoticMean(alpha=ALPHA), [0.0] * 500).estimate()
    assert early.upper == alike.upper == math.inf
    assert fed(AsymptoticMean(alpha=ALPHA), values(FIRST_UNIT)).estimate().upper < 1


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("number", [math.nan, math.inf, -0.01, 1.01])
def test_values_out_of_bounds_are_refused_and_change_nothing(kind: str, number: float) -> None:
    state = fed(MAKERS[kind](), values(20))
    before = save(state)
    if kind == "asymptotic" and math.isfinite(number):
        return  # it has no bounds
    with pytest.raises(InvalidSample):
        state.add(number)
    assert save(state) == before


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 5, math.nan])
def test_levels_that_are_none_are_refused(alpha: float) -> None:
    for make in (plug_in_mean, betting_mean, lambda a: DriftingMean(alpha=a), lambda a: AsymptoticMean(alpha=a)):
        with pytest.raises(InvalidSample, match="alpha"):
            make(alpha)


def test_bounds_margins_and_plans_that_are_none_are_refused() -> None:
    for low, high in ((1, 0), (0, 0), (0, math.inf), (math.nan, 1)):
        with pytest.raises(InvalidSample, match="bounds"):
            plug_in_mean(ALPHA, low, high)
    with pytest.raises(InvalidSample, match="margins"):
        betting_mean(ALPHA, -1, 1, margins=(1.0,))
    with pytest.raises(InvalidSample, match="planned"):
        plug_in_mean(ALPHA, planned_units=-1)
    with pytest.raises(InvalidSample, match="candidate"):
        betting_mean(ALPHA).log_e_above(0.12345)


def test_costs_of_two_arms_are_compared_without_bounds() -> None:
    rng = np.random.default_rng(10)
    a, b = (fed(AsymptoticMean(alpha=ALPHA), rng.exponential(mean, 1500)) for mean in (0.02, 0.015))
    found = mean_difference(a, b)
    assert found.lower < -0.005 < found.upper < 0
    assert found.effect == pytest.approx(b.mean - a.mean)
    few = fed(AsymptoticMean(alpha=ALPHA), values(FIRST_UNIT - 1))
    assert mean_difference(a, few).upper == math.inf
    with pytest.raises(InvalidSample, match="same alpha"):
        mean_difference(a, AsymptoticMean(alpha=0.1))


def test_equal_costs_watched_are_seldom_called_different() -> None:
    """One lane a run: skew costs of equal means, a look at every unit."""
    rng = np.random.default_rng(11)
    a, b = AsymptoticMean(alpha=ALPHA), AsymptoticMean(alpha=ALPHA)
    missed = np.zeros(500, bool)
    for _ in range(1200):
        a.add(rng.exponential(0.02, 500))
        b.add(rng.exponential(0.02, 500))
        missed |= abs(b.mean - a.mean) > difference_half_width(a, b)
    assert Finding("", "", 500, int(missed.sum()), ALPHA).holds
