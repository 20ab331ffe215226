"""Sample ratio mismatch: do the arms get the shares of units that they should? An arm that loses units makes every figure wrong.

Sequential multinomial test of Lindon & Malek, Anytime-valid inference for multinomial count data (NeurIPS 2022): the Bayes factor
of a Dirichlet prior about the wanted shares, an e-value at every look. Pearson's chi-square beside it, for one look only.
Count units of assignment (conversations, tenants), not calls: units are what chance dealt out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct

from plugins.experiments.statistics.checking import InvalidSample, Lanes, check_count, check_level, check_weights
from plugins.experiments.statistics.distributions import chi_square_tail, log_gamma

# How firmly the prior sits about the wanted shares: deviations of about 1/sqrt of it are looked for first.
CONCENTRATION = 100.0


class SampleRatio(Struct, kw_only=True, tag=True):
    """How many units each arm got.

    Attributes:
        weights: of the arms, above 0, of any sum.
        counts: units by arm since the weights were set.
        settled: log e-value of the time before that.
    """

    weights: dict[str, float]
    counts: dict[str, int] = {}
    settled: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a single arm, or weights that are none."""
        if len(self.weights) < 2:  # noqa: PLR2004 (A and B)
            raise InvalidSample("a ratio is of two arms at least")
        check_weights(list(self.weights.values()))
        if set(self.counts) - set(self.weights):
            raise InvalidSample(f"units of arms that have no weight: {sorted(set(self.counts) - set(self.weights))}")

    def add(self, arm: str, units: int = 1) -> None:
        """Units more in an arm."""
        if arm not in self.weights:
            raise InvalidSample(f"no arm {arm}, only {', '.join(sorted(self.weights))}")
        self.counts[arm] = self.counts.get(arm, 0) + check_count(units, "units")

    def reweigh(self, weights: Mapping[str, float]) -> None:
        """New weights from here on; what was found before them stays found."""
        changed = SampleRatio(weights=dict(weights), settled=self.log_e_value)
        self.weights, self.counts, self.settled = changed.weights, changed.counts, changed.settled

    @property
    def shares(self) -> dict[str, float]:
        """The wanted share of each arm."""
        whole = sum(self.weights.values())
        return {arm: weight / whole for arm, weight in self.weights.items()}

    @property
    def log_e_value(self) -> float:
        """Log e-value against the units being dealt out as wanted."""
        return self.settled + float(log_bayes_factor(self.shares, self.counts))


def log_bayes_factor(shares: Mapping[str, float], counts: Mapping[str, Lanes]) -> Lanes:
    """Log of what the Dirichlet prior about the shares explains the counts better by than the shares do."""
    log_factor = math.lgamma(CONCENTRATION) - log_gamma(CONCENTRATION + sum(counts.values()))
    for arm, share in shares.items():
        count, prior = counts.get(arm, 0), CONCENTRATION * share
        log_factor = log_factor + log_gamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return log_factor


class RatioVerdict(Struct, frozen=True, kw_only=True):
    """Whether the arms' shares are as wanted.

    Attributes:
        mismatch: they are not; wrongly said with chance `alpha` at most over all looks.
        p_value: of the e-value at this look, 1/e; may be looked at as often as one likes.
        chi_square: p-value of Pearson's test since the weights were set; for one look only, a cross-check.
        units: by arm.
        wanted: share by arm.
        text: in words.
    """

    mismatch: bool
    p_value: float
    chi_square: float
    units: dict[str, int]
    wanted: dict[str, float]
    text: str


def ratio_verdict(state: SampleRatio, alpha: float = 0.001) -> RatioVerdict:
    """Judge the shares so far; 0.001 is usual, since a mismatch voids the whole experiment."""
    mismatch = state.log_e_value >= -math.log(check_level(alpha))
    counts = {arm: state.counts.get(arm, 0) for arm in state.weights}
    units = sum(counts.values())
    got = ", ".join(f"{arm} {count} of {units} (wanted {state.shares[arm]:.1%})" for arm, count in counts.items())
    squares = sum((counts[arm] - share * units) ** 2 / (share * units) for arm, share in state.shares.items() if units)
    return RatioVerdict(
        mismatch=mismatch,
        p_value=math.exp(min(-state.log_e_value, 0.0)),
        chi_square=chi_square_tail(squares, len(counts) - 1),
        units=counts,
        wanted=state.shares,
        text=f"sample ratio mismatch: {got}" if mismatch else f"shares as wanted: {got}",
    )
