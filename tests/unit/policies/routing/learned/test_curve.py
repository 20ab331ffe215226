from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.routing.learned.curve import Curve, Rate

PRIOR = 0.01


def learnt(*figures: tuple[int, int, float], times: int = 20) -> Curve:
    curve = Curve(PRIOR)
    for _ in range(times):
        for figure in figures:
            curve.learn(*figure)
    return curve


def test_before_anything_is_learnt_the_prior_counts() -> None:
    assert Curve(PRIOR).at(100, 300) == pytest.approx(3.0)


def test_what_was_seen_is_predicted_again_for_short_and_long_prompts() -> None:
    curve = learnt((50, 50, 0.2), (10_000, 10_000, 2.0))
    assert curve.at(50, 50) == pytest.approx(0.2)
    assert curve.at(10_000, 10_000) == pytest.approx(2.0)


def test_what_is_queued_before_is_read_at_the_pace_of_long_prompts() -> None:
    curve = learnt((50, 50, 0.2), (10_000, 10_000, 2.0))
    assert curve.at(50, 10_050) == pytest.approx(2.2)


def test_short_prompts_alone_say_little_about_the_pace() -> None:
    """Else a prompt a hundred times as long would be taken to wait a hundred times as long as the way there and back."""
    assert learnt((10, 10, 1.0)).at(1_000, 1_000) == pytest.approx(1.0 + 990 * PRIOR)


def test_one_stall_is_no_change_of_pace_but_several_are() -> None:
    curve = learnt((1_000, 1_000, 1.0))
    curve.learn(1_000, 1_000, 300.0)
    assert curve.at(1_000, 1_000) < 1.5
    for _ in range(40):
        curve.learn(1_000, 1_000, 300.0)
    assert curve.at(1_000, 1_000) > 30


def test_it_follows_an_engine_that_gets_faster() -> None:
    curve = learnt((1_000, 1_000, 9.0))
    for _ in range(60):
        curve.learn(1_000, 1_000, 1.0)
    assert curve.at(1_000, 1_000) == pytest.approx(1.0, rel=0.1)


tokens = st.integers(1, 2_000_000)
figures = st.lists(st.tuples(tokens, tokens, st.floats(0.0, 10_000.0)), max_size=30)


@given(figures, tokens, st.integers(0, 2_000_000))
def test_it_is_never_negative_and_more_before_it_never_makes_it_sooner(
    seen: list[tuple[int, int, float]], own: int, queued: int
) -> None:
    curve = Curve(PRIOR)
    for each, before, seconds in seen:
        curve.learn(each, each + before, seconds)
    assert 0.0 <= curve.at(own, own) <= curve.at(own, own + queued)


def test_a_rate_is_learnt_by_the_length_of_prompts_and_the_nearest_tells_for_others() -> None:
    rate = Rate()
    assert set(rate.rates) == {0.0}
    rate.learn(100, 1_000.0, 10.0)
    assert set(rate.rates) == {100.0}
    rate.learn(100_000, 9_000.0, 10.0)
    assert rate.rates[0] == pytest.approx(100.0)
    assert rate.rates[-1] == pytest.approx(900.0)
