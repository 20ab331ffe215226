"""Sizes as the reference has them, as statsmodels has them, and what a look half-way says is still missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.proportion import power_ztost_prop

from plugins.experiments.statistics.betting import betting_mean
from plugins.experiments.statistics.checking import InvalidSample
from plugins.experiments.statistics.estimate import Estimate
from plugins.experiments.statistics.paired import PairedTable, paired_difference
from plugins.experiments.statistics.sample_sizes import calls_needed_per_arm, more_calls, pairs_needed, power_of_pairs


def test_sizes_are_the_reference_s() -> None:
    """alpha 0.05, power 0.9, arms that are truly equal."""
    assert calls_needed_per_arm(0.99, 0.01) == 2143
    assert calls_needed_per_arm(0.84, 0.03) == 3233
    assert pairs_needed(0.02, 0.01) == 2165
    assert pairs_needed(0.10, 0.02) == 2706
    assert pairs_needed(0.20, 0.03) == 2405


@pytest.mark.parametrize(("discordance", "margin"), [(0.02, 0.01), (0.10, 0.02), (0.20, 0.03)])
def test_power_at_the_size_is_what_was_asked(discordance: float, margin: float) -> None:
    pairs = pairs_needed(discordance, margin)
    # One rate of 1/2 whose mean has the variance of the paired difference.
    alike = 0.25 * pairs / discordance
    wanted = power_ztost_prop(0.5 - margin, 0.5 + margin, alike, 0.5, variance_prop=0.5, discrete=False)[0]
    assert power_of_pairs(pairs, discordance, margin) == pytest.approx(wanted, abs=1e-6)
    assert power_of_pairs(pairs, discordance, margin) == pytest.approx(0.9, abs=0.001)
    assert power_of_pairs(pairs // 10, discordance, margin) < 0.1


def test_non_inferiority_wants_fewer_and_a_true_difference_more() -> None:
    assert pairs_needed(0.1, 0.02, aim="non_inferiority") < pairs_needed(0.1, 0.02)
    assert pairs_needed(0.1, 0.02, difference=-0.01) > 3 * pairs_needed(0.1, 0.02)
    assert pairs_needed(0.1, 0.02, aim="non_inferiority", difference=0.01) < 1000


def test_what_a_half_way_look_asks_for_is_enough_most_of_the_time() -> None:
    """By simulation: with as many more, nine in ten of the experiments that were undecided are decided."""
    rng = np.random.default_rng(4)
    decided = asked = 0
    for _ in range(300):
        counts = rng.multinomial(700, [0.05, 0.05, 0.9])
        first = paired_difference(
            PairedTable(both=int(counts[2]), only_a=int(counts[0]), only_b=int(counts[1]), neither=0)
        )
        gap = 0.02 + first.effect
        if first.lower > -0.02 or gap <= 0.005:
            continue
        more = more_calls(first, gap)
        assert more is not None
        # The effect stays where it is: what the promise is about.
        rest = rng.multinomial(more, [0.05 - first.effect / 2, 0.05 + first.effect / 2, 0.9])
        only_a, only_b, both = (int(each) for each in counts + rest)
        last = paired_difference(PairedTable(both=both, only_a=only_a, only_b=only_b, neither=0))
        asked += 1
        decided += last.lower > -0.02
    assert asked > 60
    assert decided / asked > 0.75


def test_a_watched_sequence_asks_for_more_than_one_look_does() -> None:
    rng = np.random.default_rng(9)
    state = betting_mean(0.1, -1, 1)
    values = rng.choice([-1.0, 0.0, 1.0], 1000, p=[0.05, 0.9, 0.05])
    for value in values:
        state.add(float(value))
    watched = state.estimate()
    fixed = paired_difference(
        PairedTable(both=900, only_a=int((values < 0).sum()), only_b=int((values > 0).sum()), neither=0), confidence=0.9
    )
    more, once = more_calls(watched, 0.01), more_calls(fixed, 0.01)
    assert more is not None
    assert once is not None
    assert more > once > 0


def estimate(lower: float, upper: float, calls: int = 100) -> Estimate:
    return Estimate(
        effect=(lower + upper) / 2, lower=lower, upper=upper, confidence=0.9, calls=calls, units=calls, method=""
    )


def test_where_no_number_would_do_none_is_given() -> None:
    wide = estimate(-0.5, 0.5)
    assert more_calls(wide, 0.0) is None
    assert more_calls(wide, -0.1) is None
    assert more_calls(wide, 1e-6) is None
    assert more_calls(estimate(0.1, 0.1), 0.1) is None
    assert (
        more_calls(
            Estimate(effect=0, lower=-math.inf, upper=math.inf, confidence=0.9, calls=9, units=9, method=""), 0.1
        )
        is None
    )


def test_plans_that_are_none_are_refused() -> None:
    for discordance, margin in ((0, 0.01), (1.1, 0.01), (0.1, 0), (0.1, -1), (0.1, math.nan)):
        with pytest.raises(InvalidSample):
            pairs_needed(discordance, margin)
    with pytest.raises(InvalidSample, match="not within the margin"):
        pairs_needed(0.1, 0.01, difference=-0.02)
    with pytest.raises(InvalidSample):
        calls_needed_per_arm(1.0, 0.01)
    with pytest.raises(InvalidSample):
        pairs_needed(0.1, 0.01, alpha=0)
