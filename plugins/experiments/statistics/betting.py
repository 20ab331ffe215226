"""Confidence sequence for the mean of bounded values by betting against every candidate mean: the hedged capital.

Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting (JRSS-B 86, 2024), theorem 3. The tightest of the
exact sequences here. Its capital against a margin is an e-value, fit for e-BH over endpoints.
"""

from __future__ import annotations

import math

import numpy as np

from plugins.experiments.statistics.checking import InvalidSample, Lanes
from plugins.experiments.statistics.empirical_bernstein import LARGEST_BET, Bounded, Moments
from plugins.experiments.statistics.estimate import Estimate

METHOD = "betting (hedged capital)"
# In [0, 1]; the ends of an interval are found to this step, rounded outwards.
_EVEN = tuple(round(step / 1000, 4) for step in range(1, 1000))
# For differences in [-1, 1]: margins of a percentage point want finer steps near 0, and 0 itself.
_NEAR = [step / 2000 for step in range(1, 101)]
_FURTHER = [step / 200 for step in range(11, 61)] + [step / 50 for step in range(16, 50)]
_DIFFERENCES = sorted({0.0, *_NEAR, *_FURTHER, *(-each for each in _NEAR), *(-each for each in _FURTHER)})


class BettingMean(Bounded, kw_only=True, tag=True):
    """The mean of bounded values that all have the same mean, given their past.

    Attributes:
        means: candidates in [0, 1], rising; the interval's ends are among them: shape (candidates,).
        above, below: log capital of who bets that the mean is above, or below, each candidate: shape (candidates,).
        moments: of the values so far.
        lower, upper: the intersection of all intervals so far, in [0, 1].
    """

    means: Lanes
    above: Lanes
    below: Lanes
    moments: Moments
    lower: Lanes = 0.0
    upper: Lanes = 1.0

    def add(self, value: Lanes) -> None:
        """One value more, within the bounds."""
        scaled = self.scaled(value)
        means = np.asarray(self.means)
        bet = self.moments.bet(self.alpha, self.planned_units)
        distance = scaled - means
        above = np.asarray(self.above) + np.log1p(np.minimum(bet, LARGEST_BET / means) * distance)
        below = np.asarray(self.below) + np.log1p(-np.minimum(bet, LARGEST_BET / (1 - means)) * distance)
        self.moments.add(scaled)
        # Capital falls, or rises, with the candidate: those that are refused lie at one end.
        enough = math.log(2 / self.alpha)
        edges = np.concatenate([np.zeros_like(means[:1]), means, np.ones_like(means[:1])])
        self.lower = np.maximum(self.lower, np.take(edges, np.sum(above >= enough, axis=0)))
        self.upper = np.minimum(self.upper, np.take(edges, -1 - np.sum(below >= enough, axis=0)))
        self.means, self.above, self.below = means, above, below

    def estimate(self) -> Estimate:
        """The mean so far with its interval; of no values, the whole range."""
        count = self.moments.count
        mean = self.moments.total / count if count else 0.5
        return self.answer(mean, self.lower, self.upper, count, METHOD)

    def log_e_above(self, mean: float) -> float:
        """Log of the e-value against the mean being at most so much; `mean` must be a candidate."""
        return float(np.asarray(self.above)[self._place(mean)])

    def log_e_below(self, mean: float) -> float:
        """Log of the e-value against the mean being at least so much; `mean` must be a candidate."""
        return float(np.asarray(self.below)[self._place(mean)])

    def _place(self, mean: float) -> int:
        wanted = (mean - self.low) / (self.high - self.low)
        place = int(np.argmin(np.abs(np.asarray(self.means) - wanted)))
        if abs(self.means[place] - wanted) > 1e-9:  # noqa: PLR2004 (rounding)
            raise InvalidSample(f"{mean} is no candidate: give it when the sequence is made")
        return place


def betting_mean(
    alpha: float, low: float = 0.0, high: float = 1.0, planned_units: int = 0, margins: tuple[float, ...] = ()
) -> BettingMean:
    """A sequence with no values yet; `margins` are means that e-values are wanted for: candidates beside the usual ones.

    Bounds of -1 and 1 or wider are those of a difference, which is sought within [-1, 1] and most finely near 0.
    """
    even = [low + (high - low) * each for each in _EVEN]
    wanted = sorted({*(_DIFFERENCES if low <= -1 and high >= 1 else even), *margins})
    if not all(low < each < high for each in wanted):
        raise InvalidSample(f"margins must lie within ({low}, {high}), not {margins}")
    means = [(each - low) / (high - low) for each in wanted]
    empty = [0.0] * len(means)
    return BettingMean(
        alpha=alpha,
        low=low,
        high=high,
        planned_units=planned_units,
        means=means,
        above=empty,
        below=list(empty),
        moments=Moments(),
    )
