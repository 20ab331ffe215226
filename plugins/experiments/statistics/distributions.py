"""Tails and quantiles of the distributions that the methods need, in plain Python, so that the gateway carries no scipy.

The incomplete beta and gamma functions are their continued fractions and series, DLMF 8.17.22 and 8.11.4 (dlmf.nist.gov), to about
1e-12; the tests hold them against scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from plugins.experiments.statistics.checking import Floats

_NORMAL = NormalDist()
_TINY = 1e-300
_STEPS = 500
# lgamma is shifted up by this much, where its asymptotic series is exact to 1e-15.
_SHIFT = 12
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def normal_quantile(probability: float) -> float:
    """The z with P(Z ≤ z) = probability."""
    return _NORMAL.inv_cdf(probability)


def normal_tail(z: float) -> float:
    """P(Z > z)."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def log_gamma(values: Floats | float) -> Floats:
    """Log Γ(x) of each x > 0, whatever the shape."""
    x = np.asarray(values, dtype=np.float64)
    low = np.ones_like(x)
    for step in range(_SHIFT):
        low = low * (x + step)
    y = x + _SHIFT
    series = sum(term / y ** (2 * power + 1) for power, term in enumerate(_STIRLING))
    result: Floats = (y - 0.5) * np.log(y) - y + 0.5 * math.log(2 * math.pi) + series - np.log(low)
    return result


def beta_probability(x: float, a: float, b: float) -> float:
    """P(X ≤ x), X of Beta(a, b)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_probability(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    # Lentz's way of evaluating the continued fraction from its front.
    c, d = 1.0, 1.0 / _not_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for term in (even, odd):
            d = 1.0 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            change = c * d
            fraction *= change
        if abs(change - 1) < 1e-15:  # noqa: PLR2004 (the last bit)
            break
    return front * fraction


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def t_quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t with `degrees` degrees of freedom; the normal one where they are infinite."""
    if math.isinf(degrees):
        return normal_quantile(probability)

    def below(value: float) -> float:
        tail = 0.5 * beta_probability(degrees / (degrees + value * value), degrees / 2, 0.5)
        return tail if value < 0 else 1 - tail

    edge = 2.0
    while below(edge) < max(probability, 1 - probability):
        edge *= 2
    return root(lambda value: below(value) - probability, -edge, edge)


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The quantile of Beta(a, b)."""
    return root(lambda x: beta_probability(x, a, b) - probability, 0.0, 1.0)


def binomial_tail(least: int, trials: int, chance: float) -> float:
    """P(X ≥ least), X the number of successes in `trials`."""
    if least <= 0:
        return 1.0
    return beta_probability(chance, least, trials - least + 1) if least <= trials else 0.0


def chi_square_tail(value: float, degrees: int) -> float:
    """P(X > value), X chi-square with `degrees` degrees of freedom."""
    a, x = degrees / 2, value / 2
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        step = a
        while term > total * 1e-16:
            step += 1
            term *= x / step
            total += term
        return max(1.0 - front * total, 0.0)
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    fraction = d
    for step in range(1, _STEPS):
        term = -step * (step - a)
        b += 2
        d = 1 / _not_zero(term * d + b)
        c = _not_zero(b + term / c)
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:  # noqa: PLR2004 (the last bit)
            break
    return front * fraction


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises (or falls) through 0 between two places does so: bisection, to the last bits."""
    rising = function(high) > function(low)
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if (function(middle) < 0) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2
