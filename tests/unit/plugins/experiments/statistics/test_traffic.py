"""Did units go where they should, and did arms see the same load?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from plugins.experiments.statistics.checking import InvalidSample
from plugins.experiments.statistics.matched_load import LoadSeen, load_seen, load_verdict
from plugins.experiments.statistics.sample_ratio import CONCENTRATION, SampleRatio, ratio_verdict
from plugins.experiments.statistics.saving import load, save


def ratio(counts: dict[str, int], weights: dict[str, float] | None = None) -> SampleRatio:
    state = SampleRatio(weights=weights or {"a": 1, "b": 1})
    for arm, count in counts.items():
        state.add(arm, count)
    return state


def test_the_e_value_is_the_bayes_factor() -> None:
    counts, shares = np.array([530, 310, 160]), np.array([0.5, 0.3, 0.2])
    prior = CONCENTRATION * shares

    def log_beta(values: np.ndarray) -> float:
        return float(special.gammaln(values).sum() - special.gammaln(values.sum()))

    wanted = log_beta(prior + counts) - log_beta(prior) - float(counts @ np.log(shares))
    found = ratio({"a": 530, "b": 310, "c": 160}, {"a": 5, "b": 3, "c": 2})
    assert found.log_e_value == pytest.approx(wanted)
    verdict = ratio_verdict(found)
    assert verdict.chi_square == pytest.approx(stats.chisquare(counts, shares * 1000).pvalue)
    assert verdict.p_value == pytest.approx(min(math.exp(-wanted), 1))


def test_a_mismatch_is_called_and_an_even_split_is_not() -> None:
    assert ratio_verdict(ratio({"a": 5300, "b": 4700})).mismatch
    assert ratio_verdict(ratio({"a": 5300, "b": 4700})).text.startswith(
        "sample ratio mismatch: a 5300 of 10000 (wanted 50.0%)"
    )
    assert not ratio_verdict(ratio({"a": 5050, "b": 4950})).mismatch
    assert ratio_verdict(ratio({"b": 60})).mismatch
    empty = ratio_verdict(ratio({}))
    assert (empty.mismatch, empty.p_value, empty.chi_square) == (False, pytest.approx(1.0), 1.0)


def test_new_weights_keep_what_was_found_and_ask_anew() -> None:
    state = ratio({"a": 5300, "b": 4700})
    found = state.log_e_value
    state.reweigh({"a": 9, "b": 1})
    assert state.log_e_value == pytest.approx(found)
    state.add("a", 900)
    state.add("b", 100)
    assert ratio_verdict(state).mismatch
    honest = ratio({"a": 500, "b": 500})
    honest.reweigh({"a": 9, "b": 1})
    honest.add("a", 9000)
    honest.add("b", 1000)
    assert not ratio_verdict(load(SampleRatio, save(honest))).mismatch


def test_ratios_that_are_none_are_refused() -> None:
    for weights in ({"a": 1.0}, {}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": -1.0}, {"a": 1.0, "b": math.nan}):
        with pytest.raises(InvalidSample):
            SampleRatio(weights=weights)
    with pytest.raises(InvalidSample, match="no arm c"):
        ratio({"c": 1})
    with pytest.raises(InvalidSample):
        ratio({"a": -1})
    with pytest.raises(InvalidSample, match="alpha"):
        ratio_verdict(ratio({"a": 1}), alpha=0)
    state = ratio({"a": 1})
    with pytest.raises(InvalidSample):
        state.reweigh({"a": 1})
    assert state.counts == {"a": 1}


def loads(mean: float, calls: int, seed: int, spread: float = 2.0) -> LoadSeen:
    state = load_seen()
    for value in np.random.default_rng(seed).normal(mean, spread, calls):
        state.add(max(float(value), 0.0))
    return state


def test_matched_load_is_told_from_different_and_from_unclear() -> None:
    assert load_verdict(loads(10, 3000, 1), loads(10, 3000, 2)).load == "matched"
    different = load_verdict(loads(10, 3000, 1), loads(12, 3000, 2))
    assert different.load == "different"
    assert different.difference == pytest.approx(1, abs=0.1)
    assert "do not compare" in different.text
    assert load_verdict(loads(10, 150, 1), loads(10, 150, 2)).load == "unclear"
    assert load_verdict(loads(10, 50, 1), loads(30, 5000, 2)).load == "unclear"
    assert load_verdict(load_seen(), loads(30, 5000, 2)).load == "unclear"


def test_load_that_never_moves_is_compared_too() -> None:
    assert load_verdict(loads(4, 200, 1, spread=0), loads(4, 200, 2, spread=0)).load == "matched"
    assert load_verdict(loads(4, 200, 1, spread=0), loads(5, 200, 2, spread=0)).load == "different"


def test_a_load_that_is_none_is_refused() -> None:
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidSample):
            load_seen().add(value)
