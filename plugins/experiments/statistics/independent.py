"""Yes-or-no outcomes of two arms that served different calls (live splits): rates and their difference.

Wilson's score interval (JASA 22, 1927) for one rate; Newcombe's method 10 (Statistics in Medicine 17, 1998) and the score interval
of Miettinen & Nurminen (Statistics in Medicine 4, 1985) for the difference. Conversations: counts divided by each arm's design
effect (Rao & Scott, Biometrics 48, 1992) and Student's t. For a number of calls that was set beforehand: not for peeking.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from plugins.experiments.statistics.checking import InvalidSample, NotEnough, check_binary, check_count, check_level
from plugins.experiments.statistics.clusters import by_conversation, design_effect
from plugins.experiments.statistics.distributions import beta_quantile, root, t_quantile
from plugins.experiments.statistics.estimate import Estimate, Interval

Method = Literal["miettinen_nurminen", "newcombe"]
_NAMES = {
    "miettinen_nurminen": "Miettinen-Nurminen score interval",
    "newcombe": "Newcombe interval (method 10)",
}


class Rate(Struct, frozen=True, kw_only=True):
    """Successes among an arm's calls.

    Attributes:
        successes, calls: numbers.
        conversations: how many the calls are of; 0 if each is its own.
        design_effect: what clustering raises the variance by, 1 or more.
    """

    successes: int
    calls: int
    conversations: int = 0
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an empty arm and more successes than calls."""
        if not check_count(self.calls, "calls"):
            raise NotEnough("an arm without calls")
        if check_count(self.successes, "successes") > self.calls:
            raise InvalidSample(f"{self.successes} successes of {self.calls} calls")
        if not self.design_effect >= 1:
            raise InvalidSample(f"a design effect is 1 or more, not {self.design_effect}")

    @property
    def value(self) -> float:
        """The rate, in [0, 1]."""
        return self.successes / self.calls

    @property
    def effective(self) -> float:
        """How many independent calls they are worth."""
        return self.calls / self.design_effect

    @property
    def degrees(self) -> float:
        """Of freedom of the spread between conversations; infinite where calls are independent."""
        return max(self.conversations - 1, 1) if self.conversations else math.inf


def rate(outcomes: Sequence[float], conversations: Sequence[Hashable] | None = None) -> Rate:
    """Count an arm's outcomes, 0 or 1: shape (calls,)."""
    column = check_binary(outcomes)
    effect, count = 1.0, 0
    if conversations is not None:
        clusters = by_conversation(column, conversations)
        with_success = int(np.sum(clusters.totals > 0))
        with_failure = int(np.sum(clusters.totals < clusters.sizes))
        count = len(clusters.sizes)
        effect = design_effect(clusters, float(np.var(column)), min(with_success, with_failure))
    return Rate(successes=int(column.sum()), calls=len(column), conversations=count, design_effect=effect)


def wilson(of: Rate, confidence: float = 0.95) -> Interval:
    """Wilson's interval of one rate."""
    lower, upper = _wilson(of, t_quantile((1 + check_level(confidence, "confidence")) / 2, of.degrees))
    return Interval(
        value=of.value, lower=lower, upper=upper, confidence=confidence, calls=of.calls, method="Wilson score interval"
    )


def _wilson(of: Rate, critical: float) -> tuple[float, float]:
    count, value = of.effective, of.value
    middle = (value + critical**2 / (2 * count)) / (1 + critical**2 / count)
    half = critical / (1 + critical**2 / count) * math.sqrt(value * (1 - value) / count + critical**2 / (4 * count**2))
    return min(max(middle - half, 0.0), value), max(min(middle + half, 1.0), value)


def most_failures(of: Rate, confidence: float = 0.95) -> float:
    """The exact upper bound of the failure rate (Clopper & Pearson, Biometrika 26, 1934): about 3/n where none failed."""
    failures = (of.calls - of.successes) / of.design_effect
    kept = of.successes / of.design_effect
    return beta_quantile(check_level(confidence, "confidence"), failures + 1, kept) if kept else 1.0


def rate_difference(a: Rate, b: Rate, confidence: float = 0.9, method: Method = "miettinen_nurminen") -> Estimate:
    """The rate of B less that of A; 0.9 makes two one-sided tests of 0.05 each of it."""
    critical = t_quantile((1 + check_level(confidence, "confidence")) / 2, min(a.degrees, b.degrees))
    lower, upper = (_newcombe if method == "newcombe" else _miettinen_nurminen)(a, b, critical)
    clustered = bool(a.conversations or b.conversations)
    effect = b.value - a.value
    return Estimate(
        effect=effect,
        lower=min(lower, effect),
        upper=max(upper, effect),
        confidence=confidence,
        calls=a.calls + b.calls,
        units=(a.conversations or a.calls) + (b.conversations or b.calls),
        method=_NAMES[method] + (", clustered by conversation (Rao-Scott)" if clustered else ""),
    )


def _newcombe(a: Rate, b: Rate, critical: float) -> tuple[float, float]:
    (low_a, high_a), (low_b, high_b) = _wilson(a, critical), _wilson(b, critical)
    effect = b.value - a.value
    return (
        effect - math.hypot(b.value - low_b, high_a - a.value),
        effect + math.hypot(high_b - b.value, a.value - low_a),
    )


def score(a: Rate, b: Rate, difference: float) -> float:
    """Miettinen & Nurminen's score: how many standard errors the rates lie above a true difference of B less A, in (-1, 1)."""
    count = a.effective + b.effective
    first, second = _restricted_rates(a, b, difference)
    variance = first * (1 - first) / a.effective + second * (1 - second) / b.effective
    distance = b.value - a.value - difference
    if variance <= 0 or count <= 1:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance * count / (count - 1))


def _restricted_rates(a: Rate, b: Rate, difference: float) -> tuple[float, float]:
    """The likeliest rates of A and B that differ by just so much: the root of a cubic, in closed form."""
    n_a, n_b = a.effective, b.effective
    x_a, both = a.value * n_a, a.value * n_a + b.value * n_b
    cubic = n_a + n_b
    square = ((n_b + 2 * n_a) * difference - cubic - both) / (3 * cubic)
    linear = ((n_a * difference - cubic - 2 * x_a) * difference + both) / cubic
    constant = x_a * difference * (1 - difference) / cubic
    q = square**3 - linear * square / 2 + constant / 2
    p = math.copysign(math.sqrt(max(square**2 - linear / 3, 0.0)), q)
    angle = (math.pi + math.acos(min(max(q / p**3, -1.0), 1.0))) / 3 if p else 0.0
    least, most = max(0.0, -difference), min(1.0, 1 - difference)
    first = min(max(2 * p * math.cos(angle) - square, least), most)
    return first, min(max(first + difference, 0.0), 1.0)


def _miettinen_nurminen(a: Rate, b: Rate, critical: float) -> tuple[float, float]:
    effect = b.value - a.value
    lower = root(lambda d: score(a, b, d) - critical, -1.0, effect) if effect > -1 else -1.0
    upper = root(lambda d: score(a, b, d) + critical, effect, 1.0) if effect < 1 else 1.0
    return lower, upper
