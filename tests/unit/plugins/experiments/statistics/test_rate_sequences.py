from __future__ import annotations

import numpy as np
import pytest

from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.independent import Rate
from plugins.experiments.statistics.rate_sequences import rate_difference_sequence, rate_sequence

LOOKS = (5, 10, 20, 40, 80, 160, 320, 640, 1_000)


def of(successes: int, calls: int, **fields: float) -> Rate:
    return Rate(successes=successes, calls=calls, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.5, 0.97, 1.0])
def test_the_truth_is_seldom_left_out_however_often_one_looks(rate: float) -> None:
    rng = np.random.default_rng(11)
    missed = 0
    for _ in range(200):
        counts = np.cumsum(rng.random(LOOKS[-1]) < rate)
        intervals = [rate_sequence(of(int(counts[look - 1]), look), 0.05) for look in LOOKS]
        missed += any(not each.lower <= rate <= each.upper for each in intervals)
    assert missed / 200 <= 0.05


@pytest.mark.parametrize("rate", [0.05, 0.9, 0.99])
def test_arms_that_are_alike_are_seldom_said_to_differ(rate: float) -> None:
    rng = np.random.default_rng(12)
    wrong = 0
    for _ in range(200):
        first, second = (np.cumsum(rng.random(LOOKS[-1]) < rate) for _ in range(2))
        found = [
            rate_difference_sequence(of(int(first[look - 1]), look), of(int(second[look - 1]), look), 0.1)
            for look in LOOKS
        ]
        wrong += any(not each.lower <= 0 <= each.upper for each in found)
    assert wrong / 200 <= 0.1


def test_a_difference_is_found_and_its_interval_shrinks() -> None:
    widths = []
    for calls in (100, 1_000, 10_000):
        found = rate_difference_sequence(of(95 * calls // 100, calls), of(90 * calls // 100, calls), 0.1)
        assert found.effect == pytest.approx(-0.05)
        assert found.lower <= found.effect <= found.upper
        widths.append(found.upper - found.lower)
    assert widths == sorted(widths, reverse=True)
    assert found.upper < 0


def test_b_less_a_is_a_less_b_the_other_way_round() -> None:
    one = rate_difference_sequence(of(300, 1_000), of(900, 1_000), 0.1)
    other = rate_difference_sequence(of(900, 1_000), of(300, 1_000), 0.1)
    assert (one.lower, one.upper) == pytest.approx((-other.upper, -other.lower), abs=2e-3)


def test_calls_that_hang_together_count_for_less() -> None:
    alone = rate_sequence(of(900, 1_000))
    together = rate_sequence(of(900, 1_000, conversations=100, design_effect=5.0))
    assert together.upper - together.lower > alone.upper - alone.lower


def test_no_calls_are_not_enough() -> None:
    with pytest.raises(NotEnough):
        of(0, 0)
