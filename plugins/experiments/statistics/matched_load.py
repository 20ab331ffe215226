"""Did both arms see the same load? Latencies at different load compare loads, not engines.

The standardised difference of means (Austin, Statistics in Medicine 28, 2009): above 0.1 arms count as different. Its interval is
asymptotic and time-uniform (Waudby-Smith et al., Annals of Statistics 52, 2024).
"""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from plugins.experiments.statistics.asymptotic import FIRST_UNIT, AsymptoticMean, critical_value
from plugins.experiments.statistics.checking import check_values

DIFFERENT = 0.1
# Within this the difference can hardly move a quantile by what anyone would call an effect.
ALIKE = 0.25


class LoadSeen(Struct, kw_only=True, tag=True):
    """The load that an arm's calls met as they came, e.g. calls under way on their replica; of one unit in both arms."""

    loads: AsymptoticMean

    def add(self, load: float) -> None:
        """One call more."""
        self.loads.add(float(check_values(load, 0, name="a load")))


def load_seen(alpha: float = 0.05) -> LoadSeen:
    """An arm with no calls yet."""
    return LoadSeen(loads=AsymptoticMean(alpha=alpha))


class LoadVerdict(Struct, frozen=True, kw_only=True):
    """Whether the arms' latencies may be compared.

    Attributes:
        load: `matched`, `different` or, with few calls, `unclear`.
        difference: of mean loads, B less A, in standard deviations; None where there is none.
        mean_a, mean_b: mean loads; None where an arm has no calls.
        text: in words; a warning unless matched.
    """

    load: Literal["matched", "different", "unclear"]
    difference: float | None
    mean_a: float | None
    mean_b: float | None
    text: str


def load_verdict(a: LoadSeen, b: LoadSeen) -> LoadVerdict:
    """Compare the loads that two arms saw."""
    first, second = a.loads, b.loads
    mean_a, mean_b = (float(each.mean) if each.count else None for each in (first, second))
    if mean_a is None or mean_b is None or min(first.count, second.count) < FIRST_UNIT:
        text = f"load unclear: {min(first.count, second.count)} calls in an arm, {FIRST_UNIT} are the fewest"
        return LoadVerdict(load="unclear", difference=None, mean_a=mean_a, mean_b=mean_b, text=text)
    spread = math.sqrt((first.squares / first.count + second.squares / second.count) / 2)
    apart = mean_b - mean_a
    difference = apart / spread if spread > 0 else math.copysign(math.inf, apart) if apart else 0.0
    units = first.count + second.count
    error = math.sqrt(1 / first.count + 1 / second.count) if spread > 0 else 0.0
    reach = error * critical_value(units, first.alpha, first.planned_units)
    means = f"mean load {mean_a:.3g} in A, {mean_b:.3g} in B"
    if abs(difference) > max(DIFFERENT, reach):
        load: Literal["matched", "different", "unclear"] = "different"
        text = f"arms saw different load ({means}): their latencies do not compare"
    elif abs(difference) + reach < ALIKE:
        load, text = "matched", f"load matched ({means})"
    else:
        load, text = "unclear", f"load unclear ({means}): too few calls to say that it was matched"
    return LoadVerdict(load=load, difference=difference, mean_a=mean_a, mean_b=mean_b, text=text)
