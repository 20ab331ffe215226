from __future__ import annotations

import math

import pytest

from plugins.bench import samples
from plugins.bench.samples import Sample, Spread, Window


def spread(*values: float) -> Spread:
    made = Spread()
    for value in values:
        made.add(value)
    return made


def test_quantiles_are_by_nearest_rank() -> None:
    found = spread(*range(1, 101)).quantiles(0.5, 0.9, 0.99, 1.0)
    assert found == [50, 90, 99, 100]
    assert spread(7.0).quantiles(0.01, 0.99) == [7.0, 7.0]
    assert all(math.isnan(value) for value in Spread().quantiles(0.5, 0.9))
    assert math.isnan(Spread().mean)


def test_a_spread_is_bounded_and_still_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_VALUES", 1000)
    found = spread(*range(100_000))
    assert (found.count, found.mean) == (100_000, 49_999.5)
    assert len(found.kept) == 1000
    (middle,) = found.quantiles(0.5)
    assert 40_000 < middle < 60_000, "the first values only, or the last"


def test_joined_spreads_are_one() -> None:
    one, other = spread(1, 2, 3), spread(4, 5)
    one.join(other)
    assert (one.count, one.mean, one.quantiles(0.5)) == (5, 3.0, [3])
    assert other.count == 2


def test_a_call_s_figures() -> None:
    window = Window(4, seconds=2.0)
    window.add(Sample(first_token=0.5, gaps=[0.1, 0.3], total=1.0, prompt_tokens=7, output_tokens=5, events=3))
    window.add(Sample(first_token=0.7, gaps=[], total=0.7, prompt_tokens=7, output_tokens=1, events=1))
    assert (window.answered, window.calls_per_second, window.tokens_per_second) == (2, 1.0, 3.0)
    assert (window.prompt_tokens, window.output_tokens, window.untold) == (14, 6, 0)
    assert window.first_token.quantiles(0.5, 1.0) == [0.5, 0.7]
    assert window.gap.count == 2
    assert window.per_token.quantiles(0.5) == [pytest.approx(0.4 / 4)], "four tokens after the first took 0.4 s"
    assert window.per_token.count == 1, "a call of one token has no time per further token"


def test_without_usage_events_are_tokens_and_that_is_told() -> None:
    window = Window(1, seconds=1.0)
    window.add(Sample(first_token=0.1, gaps=[0.1] * 3, total=0.4, events=4))
    assert (window.output_tokens, window.untold) == (4, 1)


def test_errors_are_counted_by_kind_and_in_no_figure() -> None:
    window = Window(1, seconds=1.0)
    for number in range(3):
        window.add(Sample(error="status_503", detail=f"number {number}", first_token=1.0, total=9.0, output_tokens=9))
    window.add(Sample(error="timed_out"))
    assert window.errors == {"status_503": 3, "timed_out": 1}
    assert window.examples["status_503"] == "number 0"
    assert (window.answered, window.total.count, window.first_token.count, window.output_tokens) == (0, 0, 0, 0)


def test_kinds_of_errors_are_bounded() -> None:
    window = Window(1)
    for number in range(1000):
        window.add(Sample(error=f"status_{number}"))
    assert len(window.errors) == samples.MOST_KINDS + 1
    assert window.errors["other"] == 1000 - samples.MOST_KINDS


def test_windows_of_all_rounds_are_one() -> None:
    one, other = Window(2, seconds=1.0, cpu_cores=0.2), Window(2, seconds=3.0, cpu_cores=0.4)
    one.add(Sample(total=1.0, output_tokens=2))
    other.add(Sample(total=2.0, output_tokens=6))
    other.add(Sample(error="timed_out", detail="late"))
    one.join(other)
    assert (one.seconds, one.answered, one.tokens_per_second) == (4.0, 2, 2.0)
    assert one.cpu_cores == pytest.approx(0.35)
    assert (one.errors, one.examples) == ({"timed_out": 1}, {"timed_out": "late"})
