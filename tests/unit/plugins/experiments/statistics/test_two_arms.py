"""Differences on a live split: they find the difference at any share, refuse what was not declared, and survive a restart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from plugins.experiments.statistics.checking import InvalidSample
from plugins.experiments.statistics.saving import load, save
from plugins.experiments.statistics.two_arms import ArmDifference, Kind, arm_difference

KINDS: tuple[Kind, ...] = ("betting", "plug_in", "drifting", "asymptotic")


def fed(state: ArmDifference, units: int, share: float, rates: tuple[float, float], seed: int = 1) -> ArmDifference:
    rng = np.random.default_rng(seed)
    for _ in range(units):
        is_b = int(rng.random() < share)
        state.add(float(rng.random() < rates[is_b]), is_b, share)
    return state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_difference_is_found(kind: Kind, share: float) -> None:
    found = fed(arm_difference(kind, 0.05, least_share=0.2), 3000, share, (0.9, 0.5)).estimate()
    assert found.lower < -0.4 < found.upper < 0
    assert found.method.endswith("two arms")


@pytest.mark.parametrize("kind", KINDS)
def test_guesses_from_the_past_take_away_what_both_arms_share(kind: Kind) -> None:
    """Rates near 1 have little spread: without the guesses, the weighing alone would give them a spread of 2."""
    found = fed(arm_difference(kind, 0.05), 3000, 0.5, (0.99, 0.99)).estimate()
    assert found.upper - found.lower < {"drifting": 0.25, "plug_in": 0.15}.get(kind, 0.06)


@pytest.mark.parametrize("kind", ["betting", "plug_in", "drifting"])
def test_one_arm_alone_says_nothing(kind: Kind) -> None:
    state = arm_difference(kind, 0.05)
    for _ in range(200):
        state.add(1.0, 0, 0.5)
    found = state.estimate()
    assert (found.lower, found.upper) == (-1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_where_it_was_saved(kind: Kind) -> None:
    state = fed(arm_difference(kind, 0.05, margins=(-0.02,)), 300, 0.5, (0.8, 0.7))
    again = load(ArmDifference, save(state))
    assert fed(again, 50, 0.5, (0.8, 0.7), seed=2).estimate() == fed(state, 50, 0.5, (0.8, 0.7), seed=2).estimate()


def test_what_was_not_declared_is_refused() -> None:
    state = arm_difference("betting", 0.05, least_share=0.25)
    for outcome, is_b, share in ((1.5, 0, 0.5), (math.nan, 0, 0.5), (1, 0, 0.1), (1, 0, 0.8), (1, 2, 0.5)):
        with pytest.raises(InvalidSample):
            state.add(outcome, is_b, share)
    for least in (0, 0.6, math.nan):
        with pytest.raises(InvalidSample, match="least_share"):
            arm_difference("betting", 0.05, least_share=least)
