from __future__ import annotations

import math

import numpy as np
import pytest

from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.paired import PairedTable, paired_difference
from plugins.experiments.statistics.paired_sequences import leaves_out, log_capital, paired_difference_sequence

LOOKS = (5, 10, 20, 40, 80, 160, 320, 640, 1_000)


def table(pairs: int, only_a: int, only_b: int, **fields: float) -> PairedTable:
    return PairedTable(both=pairs - only_a - only_b, only_a=only_a, only_b=only_b, neither=0, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.01, 0.01), (0.05, 0.05), (0.3, 0.3), (0.02, 0.1), (0.4, 0.0)])
def test_the_truth_is_seldom_left_out_however_often_one_looks(rates: tuple[float, float]) -> None:
    only_a, only_b = rates
    rng = np.random.default_rng(21)
    missed = 0
    for _ in range(200):
        drawn = rng.random(LOOKS[-1])
        first = np.cumsum(drawn < only_a)
        second = np.cumsum((drawn >= only_a) & (drawn < only_a + only_b))
        looks = [table(look, int(first[look - 1]), int(second[look - 1])) for look in LOOKS]
        missed += any(leaves_out(look, only_b - only_a, 0.1) for look in looks)
    assert missed / 200 <= 0.1


def test_capital_is_the_mean_of_what_bets_of_every_size_have_won_pair_by_pair() -> None:
    """Against playing it out, in an order of its own for each size of the bet."""
    rng = np.random.default_rng(22)
    outcomes = [-1] * 7 + [1] * 4 + [0] * 30
    for least in (-0.4, -0.02, 0.0, 0.3):
        ends = []
        for place in range(4_000):
            bet = float(np.sin((place + 0.5) / 4_000 * np.pi / 2) ** 2)
            pays = (1 + rng.permutation(outcomes)) / (1 + least)
            ends.append(np.prod(1 - bet + bet * pays))
        assert log_capital(table(41, 7, 4), least) == pytest.approx(math.log(np.mean(ends)), abs=1e-3)


def test_the_ends_are_where_the_capital_passes_its_bound() -> None:
    each = table(600, 30, 12)
    found = paired_difference_sequence(each, 0.1)
    assert not leaves_out(each, found.lower + 1e-6, 0.1)
    assert leaves_out(each, found.lower - 1e-6, 0.1)
    assert not leaves_out(each, found.upper - 1e-6, 0.1)
    assert leaves_out(each, found.upper + 1e-6, 0.1)


def test_pairs_that_hardly_differ_are_soon_known_to_be_equivalent() -> None:
    alike = paired_difference_sequence(table(500, 0, 0), 0.1)
    assert (alike.effect, alike.anytime) == (0.0, True)
    assert -0.01 < alike.lower < 0 < alike.upper < 0.01
    other = paired_difference_sequence(table(500, 100, 100), 0.1)
    assert other.upper > 0.05


def test_a_difference_is_found_and_its_interval_shrinks_but_is_never_shorter_than_for_one_look() -> None:
    widths = []
    for pairs in (100, 1_000, 10_000):
        each = table(pairs, 15 * pairs // 100, 5 * pairs // 100)
        found, once = paired_difference_sequence(each, 0.1), paired_difference(each, 0.9)
        assert found.effect == pytest.approx(-0.1)
        assert found.lower < once.lower < once.upper < found.upper
        widths.append(found.upper - found.lower)
    assert widths == sorted(widths, reverse=True)
    assert found.upper < 0


def test_b_less_a_is_a_less_b_the_other_way_round() -> None:
    one = paired_difference_sequence(table(400, 40, 7), 0.1)
    other = paired_difference_sequence(table(400, 7, 40), 0.1)
    assert (one.lower, one.upper) == pytest.approx((-other.upper, -other.lower))


@pytest.mark.parametrize("counts", [(10, 10, 0), (10, 0, 10), (1, 1, 0), (1, 0, 0)])
def test_the_ends_of_the_scale(counts: tuple[int, int, int]) -> None:
    found = paired_difference_sequence(table(*counts))
    assert -1 <= found.lower <= found.effect <= found.upper <= 1


def test_pairs_that_hang_together_count_for_less() -> None:
    alone = paired_difference_sequence(table(1_000, 40, 20))
    together = paired_difference_sequence(table(1_000, 40, 20, conversations=200, design_effect=4.0))
    assert together.upper - together.lower > alone.upper - alone.lower
    assert (together.units, together.calls) == (200, 1_000)
    assert "design effect" in together.method


def test_no_pairs_are_not_enough() -> None:
    with pytest.raises(NotEnough):
        table(0, 0, 0)
