"""Tails and quantiles against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from plugins.experiments.statistics import distributions

CHANCES = (0.001, 0.025, 0.3, 0.5, 0.95, 0.9995)


@pytest.mark.parametrize("chance", CHANCES)
def test_quantiles_are_scipy_s(chance: float) -> None:
    assert distributions.normal_quantile(chance) == pytest.approx(stats.norm.ppf(chance), abs=1e-9)
    for degrees in (1, 2.5, 9, 200):
        assert distributions.t_quantile(chance, degrees) == pytest.approx(
            stats.t.ppf(chance, degrees), rel=1e-7, abs=1e-6
        )
    for a, b in ((0.5, 0.5), (1, 40), (30, 2), (300, 700)):
        assert distributions.beta_quantile(chance, a, b) == pytest.approx(stats.beta.ppf(chance, a, b), rel=1e-7)
    assert distributions.t_quantile(chance, float("inf")) == distributions.normal_quantile(chance)


def test_tails_are_scipy_s() -> None:
    for value in (0.01, 0.5, 3.0, 12.0, 60.0):
        for degrees in (1, 2, 7, 30):
            found = distributions.chi_square_tail(value, degrees)
            assert found == pytest.approx(stats.chi2.sf(value, degrees), rel=1e-9, abs=1e-12)
    for least in (0, 1, 5, 20, 21):
        assert distributions.binomial_tail(least, 20, 0.3) == pytest.approx(
            stats.binom.sf(least - 1, 20, 0.3), rel=1e-9
        )
    assert distributions.normal_tail(1.3) == pytest.approx(stats.norm.sf(1.3))
    assert distributions.chi_square_tail(0.0, 3) == 1.0


def test_the_beta_distribution_is_scipy_s_far_out() -> None:
    for x in (0.0, 1e-6, 0.2, 0.5, 0.99, 1.0):
        for a, b in ((0.5, 0.5), (3, 80), (2000, 3)):
            assert distributions.beta_probability(x, a, b) == pytest.approx(
                stats.beta.cdf(x, a, b), rel=1e-9, abs=1e-13
            )


def test_the_log_of_gamma_is_scipy_s_in_every_shape() -> None:
    values = np.array([[1e-3, 0.5, 1.0], [7.25, 1e3, 1e6]])
    assert distributions.log_gamma(values) == pytest.approx(special.gammaln(values), rel=1e-12, abs=1e-12)
