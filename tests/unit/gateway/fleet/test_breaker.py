from __future__ import annotations

import pytest

from gateway.errors import (
    ContextTooLong,
    UpstreamBroken,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.fleet.breaker import Breaker, Phase, Verdict, verdict_of
from gateway.settings import BreakerSettings

SETTINGS = BreakerSettings(
    window_seconds=10.0,
    minimum_calls=4,
    failure_share=0.5,
    open_seconds=5.0,
    longest_open_seconds=15.0,
    trial_calls=2,
    slow_start_seconds=10.0,
)
NOW = 1_000.0


def failed(breaker: Breaker, now: float = NOW) -> bool:
    """One attempt that fails; whether the breaker ought to open."""
    epoch = breaker.began()
    too_much = breaker.failed(epoch, now)
    breaker.ended(epoch)
    return too_much


def well(breaker: Breaker, now: float = NOW) -> bool:
    """One attempt that is served; whether the phase has changed."""
    return breaker.well(breaker.began(), now)


def opened(settings: BreakerSettings = SETTINGS) -> Breaker:
    breaker = Breaker(settings)
    assert [failed(breaker) for _ in range(4)] == [False, False, False, True]
    assert breaker.open(NOW) == 5.0
    return breaker


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (UpstreamUnreachable("refused"), Verdict.FAILED),
        (UpstreamTimeout("late"), Verdict.FAILED),
        (UpstreamBroken("500"), Verdict.FAILED),
        (UpstreamRefused("no", engine_status=400), Verdict.WELL),
        (ContextTooLong("too long"), Verdict.WELL),
        (UpstreamOverloaded("full"), Verdict.NOTHING),
    ],
)
def test_what_a_failure_says_of_the_replica(error: UpstreamError, verdict: Verdict) -> None:
    assert verdict_of(error) is verdict


# Closed


def test_too_few_calls_say_nothing() -> None:
    breaker = Breaker(SETTINGS)
    assert not any(failed(breaker) for _ in range(3))


@pytest.mark.parametrize(("served", "failures"), [(4, 4), (1, 3), (0, 4)])
def test_it_ought_to_open_when_the_share_of_failures_is_reached(served: int, failures: int) -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(served):
        well(breaker)
    assert [failed(breaker) for _ in range(failures)] == [False] * (failures - 1) + [True]


def test_a_smaller_share_is_let_pass() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(50):
        well(breaker)
        well(breaker)
        assert not failed(breaker)


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker(SETTINGS)
    for second in range(0, 100, 4):
        assert not failed(breaker, NOW + second)


def test_a_stream_that_breaks_is_a_failure_and_no_longer_a_success() -> None:
    """If every stream breaks, all calls fail, and not half of them."""
    breaker = Breaker(BreakerSettings(minimum_calls=4, failure_share=1.0))
    epochs = [breaker.began() for _ in range(4)]
    for epoch in epochs:
        breaker.well(epoch, NOW)
    assert [breaker.failed(epoch, NOW, was_well=True) for epoch in epochs] == [False, False, False, True]


def test_all_slots_are_free_while_it_is_closed() -> None:
    assert Breaker(SETTINGS).slots(3, 8, NOW) == 8


# Open


def test_it_has_no_slots_until_its_time_has_come() -> None:
    breaker = opened()
    assert not breaker.advance(NOW + 4.9)
    assert breaker.slots(0, 8, NOW + 4.9) == 0
    assert breaker.advance(NOW + 5.0)
    assert breaker.phase is Phase.HALF_OPEN


def test_attempts_from_before_it_opened_say_nothing_any_more() -> None:
    breaker = Breaker(SETTINGS)
    before = [breaker.began() for _ in range(3)]
    for _ in range(4):
        failed(breaker)
    breaker.open(NOW)
    breaker.try_again(NOW)
    assert not breaker.well(before[0], NOW)
    assert not breaker.failed(before[1], NOW)
    breaker.ended(before[2])
    assert breaker.slots(0, 8, NOW) == 2
    assert breaker.phase is Phase.HALF_OPEN


def test_it_may_be_tried_before_its_time() -> None:
    breaker = opened()
    assert breaker.try_again(NOW)
    assert not breaker.try_again(NOW)


# Half-open


def on_trial(settings: BreakerSettings = SETTINGS) -> Breaker:
    breaker = opened(settings)
    assert breaker.advance(NOW + 5.0)
    return breaker


@pytest.mark.parametrize("in_flight", [0, 5])
def test_so_many_trials_and_no_more_whoever_else_is_still_there(in_flight: int) -> None:
    breaker = on_trial()
    assert breaker.slots(in_flight, 8, NOW) == in_flight + 2
    breaker.began()
    assert breaker.slots(in_flight + 1, 8, NOW) == in_flight + 2
    breaker.began()
    assert breaker.slots(in_flight + 2, 8, NOW) == in_flight + 2


def test_there_are_never_more_than_the_replica_has() -> None:
    assert on_trial().slots(1, 2, NOW) == 2


def test_a_trial_that_says_nothing_is_made_again() -> None:
    breaker = on_trial()
    breaker.ended(breaker.began())
    assert breaker.slots(0, 8, NOW) == 2


def test_trials_that_still_run_are_enough_if_they_serve() -> None:
    """A stream may last for minutes."""
    breaker = on_trial()
    assert not well(breaker, NOW + 6)
    assert well(breaker, NOW + 6)
    assert breaker.phase is Phase.RECOVERING


def test_one_trial_that_fails_opens_it_again_for_twice_as_long() -> None:
    breaker = on_trial()
    well(breaker)
    assert failed(breaker, NOW + 6)
    assert breaker.open(NOW + 6) == 10.0
    assert not breaker.advance(NOW + 15.9)
    assert breaker.advance(NOW + 16.0)


def test_there_is_a_longest_time() -> None:
    breaker, now = opened(), NOW
    for seconds in (10.0, 15.0, 15.0):
        breaker.try_again(now)
        assert failed(breaker, now)
        assert breaker.open(now) == seconds


def test_a_trial_that_served_and_breaks_opens_it_too() -> None:
    breaker = on_trial()
    epoch = breaker.began()
    breaker.well(epoch, NOW + 5)
    assert breaker.failed(epoch, NOW + 6, was_well=True)


# Recovering


def recovering(settings: BreakerSettings = SETTINGS) -> Breaker:
    breaker = on_trial(settings)
    well(breaker, NOW + 6)
    assert well(breaker, NOW + 6)
    return breaker


@pytest.mark.parametrize(("later", "slots"), [(0.0, 2), (5.0, 11), (9.9, 20), (20.0, 20)])
def test_its_slots_grow(later: float, slots: int) -> None:
    assert recovering().slots(0, 20, NOW + 6 + later) == slots


def test_a_replica_with_one_slot_has_it_at_once() -> None:
    assert recovering().slots(0, 1, NOW + 6) == 1


def test_after_the_slow_start_it_is_closed_and_opens_as_if_for_the_first_time() -> None:
    breaker = recovering()
    assert not breaker.advance(NOW + 15.9)
    assert breaker.advance(NOW + 16.0)
    assert breaker.phase is Phase.CLOSED
    assert [failed(breaker, NOW + 17) for _ in range(4)][-1]
    assert breaker.open(NOW + 17) == 5.0
    assert breaker.opened == 2


def test_what_failed_before_it_opened_is_forgotten() -> None:
    breaker = recovering()
    assert [failed(breaker, NOW + 7) for _ in range(4)] == [False, False, False, True]


def test_without_a_slow_start_it_has_all_slots_at_once() -> None:
    breaker = recovering(BreakerSettings(minimum_calls=4, open_seconds=5.0, trial_calls=2, slow_start_seconds=0.0))
    assert breaker.slots(0, 20, NOW + 6.001) == 20
