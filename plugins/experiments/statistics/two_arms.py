"""Difference of two arms' means on a live split, watched as it grows: each unit becomes one bounded guess of the difference.

Unit: what was assigned, e.g. a conversation with the mean of its calls. With the recorded chance p of its arm, the outcome y
becomes g_B - g_A + (y - g_B) / p in arm B and g_B - g_A - (y - g_A) / p in arm A, the guesses g from the past alone: its mean is
the difference of the arms' means, and it lies within 1/p of 0 (Howard et al., Annals of Statistics 49, 2021, section 4.2;
Waudby-Smith et al., Annals of Statistics 52, 2024).

The intervals of `DriftingMean` hold though the arms' means drift over the day, as they do alike for both; those of the plug-in and
of betting are tighter and want means that stay.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct, structs

from plugins.experiments.statistics.asymptotic import AsymptoticMean
from plugins.experiments.statistics.betting import BettingMean, betting_mean
from plugins.experiments.statistics.checking import InvalidSample, Lanes, check_values
from plugins.experiments.statistics.empirical_bernstein import DriftingMean, PlugInMean, plug_in_mean
from plugins.experiments.statistics.estimate import Estimate

Kind = Literal["betting", "plug_in", "drifting", "asymptotic"]


class ArmMean(Struct, kw_only=True):
    """What is known of one arm: units and the sum of their outcomes."""

    count: Lanes = 0
    total: Lanes = 0.0

    @property
    def guess(self) -> Lanes:
        """Of the next outcome: the mean so far, drawn to 1/2 while there are few."""
        return (0.5 + self.total) / (self.count + 1)

    def add(self, outcome: Lanes, is_here: Lanes) -> None:
        """One outcome, if it is of this arm."""
        self.count = self.count + is_here
        self.total = self.total + is_here * outcome


class ArmDifference(Struct, kw_only=True, tag=True):
    """The mean outcome of arm B less that of arm A.

    Attributes:
        least_share: no unit was assigned to either arm with a lower chance than this.
        a, b: what is known of the arms.
        betting, plug_in, drifting, asymptotic: the sequence that the guesses go into; just one of them.
    """

    least_share: float
    a: ArmMean
    b: ArmMean
    betting: BettingMean | None = None
    plug_in: PlugInMean | None = None
    drifting: DriftingMean | None = None
    asymptotic: AsymptoticMean | None = None

    @property
    def sequence(self) -> BettingMean | PlugInMean | DriftingMean | AsymptoticMean:
        """The one that is there."""
        found = self.betting or self.plug_in or self.drifting or self.asymptotic
        if found is None:
            raise InvalidSample("no sequence to put the differences into")
        return found

    def add(self, outcome: Lanes, is_b: Lanes, share_of_b: Lanes) -> None:
        """One unit more: its outcome in [0, 1], its arm (1 for B), and the chance of B as recorded when it was assigned."""
        value = check_values(outcome, 0, 1, "an outcome")
        share = check_values(share_of_b, self.least_share, 1 - self.least_share, "the share of B")
        treated = check_values(is_b, 0, 1, "is_b")
        guess_a, guess_b = self.a.guess, self.b.guess
        weighed = treated * (value - guess_b) / share - (1 - treated) * (value - guess_a) / (1 - share)
        most = 1 / self.least_share
        # Within the bounds by construction; clipped for the last bit of rounding only.
        self.sequence.add(np.clip(guess_b - guess_a + weighed, -most, most))
        self.a.add(value, 1 - treated)
        self.b.add(value, treated)

    def estimate(self) -> Estimate:
        """The difference so far with its interval; of arms without units, the whole range."""
        answer = self.sequence.estimate()
        met = bool(self.a.count and self.b.count)
        return structs.replace(
            answer,
            effect=min(max(answer.effect, -1.0), 1.0) if met else 0.0,
            lower=min(max(answer.lower, -1.0), 1.0) if met else -1.0,
            upper=max(min(answer.upper, 1.0), -1.0) if met else 1.0,
            method=f"{answer.method}, two arms",
        )


def arm_difference(
    kind: Kind, alpha: float, least_share: float = 0.5, planned_units: int = 0, margins: tuple[float, ...] = ()
) -> ArmDifference:
    """A difference with no units yet.

    `least_share` is the lowest chance that either arm is ever given, 1/2 for an even split; the smaller, the wider the interval.
    `margins` are differences that e-values are wanted for (betting only).
    """
    if not 0 < least_share <= 0.5:  # noqa: PLR2004 (the even split)
        raise InvalidSample(f"least_share must lie within (0, 0.5], not {least_share}")
    most = 1 / least_share
    state = ArmDifference(least_share=least_share, a=ArmMean(), b=ArmMean())
    if kind == "betting":
        state.betting = betting_mean(alpha, -most, most, planned_units, margins)
    elif kind == "plug_in":
        state.plug_in = plug_in_mean(alpha, -most, most, planned_units)
    elif kind == "drifting":
        state.drifting = DriftingMean(alpha=alpha, low=-most, high=most)
    else:
        state.asymptotic = AsymptoticMean(alpha=alpha, planned_units=planned_units or 1000)
    return state
