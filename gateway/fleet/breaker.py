"""Judges one replica by what calls met there: when it is given no more, how it is tried again, and how slowly it comes back.

What counts as a failure of the replica is that it could not be reached, did not answer in time, answered with something
broken or a 5xx, or broke a stream off. An engine that refuses a request (4xx) is well. One that says that it is
overloaded (429, 503) is neither: it is busy, tells so, and the call goes elsewhere.

    closed --too many fail--> open --some seconds--> half_open --all trials serve--> recovering --some seconds--> closed
                               ^---------a trial fails---------'        '---too many fail---> open
    closed --its engine was started again--> recovering

It keeps no clock, sends nothing, and does not know the other replicas.
"""

from __future__ import annotations

import math
from enum import StrEnum

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamTimeout, UpstreamUnreachable
from gateway.fleet.window import SlidingCounts
from gateway.settings import BreakerSettings

_FAILURES = (UpstreamUnreachable, UpstreamTimeout, UpstreamBroken)
_FIRST_SHARE = 0.1


class Phase(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    RECOVERING = "recovering"


class Verdict(StrEnum):
    """What the end of an attempt says of its replica."""

    WELL = "well"
    FAILED = "failed"
    NOTHING = "nothing"


def verdict_of(error: UpstreamError) -> Verdict:
    """What an engine's failure says of it."""
    if isinstance(error, _FAILURES):
        return Verdict.FAILED
    return Verdict.NOTHING if isinstance(error, UpstreamOverloaded) else Verdict.WELL


class Breaker:
    """The breaker of one replica. All moments are seconds of one monotonic clock.

    Attributes:
        epoch: grows each time it opens; attempts that began before say nothing of how the replica is now.
        opened: how often it has opened.
    """

    __slots__ = ("_counts", "_in_row", "_since", "_undecided", "_well", "epoch", "opened", "phase", "settings")

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self.phase = Phase.CLOSED
        self.epoch = 0
        self.opened = 0
        self._counts = SlidingCounts(settings.window_seconds)
        self._in_row = 0
        self._since = 0.0
        # Attempts of which nothing is known yet; in half-open, and trials that served.
        self._undecided = 0
        self._well = 0

    def began(self) -> int:
        """An attempt begins; its epoch."""
        self._undecided += 1
        return self.epoch

    def ended(self, epoch: int) -> None:
        """An attempt is over that was never called `well`."""
        if epoch == self.epoch:
            self._undecided -= 1

    def well(self, epoch: int, now: float) -> bool:
        """An attempt was served, or is being served; whether the breaker's phase has changed by that."""
        if epoch != self.epoch or self.phase is Phase.OPEN:
            return False
        self._undecided -= 1
        if self.phase is not Phase.HALF_OPEN:
            self._counts.add(now, 1, 0)
            return False
        self._well += 1
        if self._well < self.settings.trial_calls:
            return False
        self._turn(Phase.RECOVERING, now)
        self._counts.clear()
        return True

    def failed(self, epoch: int, now: float, *, was_well: bool = False) -> bool:
        """An attempt failed; whether the breaker ought to open. `was_well`: it had been counted as served."""
        if epoch != self.epoch or self.phase is Phase.OPEN:
            return False
        if self.phase is Phase.HALF_OPEN:
            return True
        self._counts.add(now, -1 if was_well else 0, 1)
        return self._is_too_much()

    def open(self, now: float) -> float:
        """Open; for how many seconds. Each time in a row it is twice as long, until the longest."""
        settings = self.settings
        self._turn(Phase.OPEN, now)
        self.epoch += 1
        self.opened += 1
        self._in_row += 1
        self._counts.clear()
        return self._open_seconds(settings)

    def advance(self, now: float) -> bool:
        """Let time do its part; whether the phase has changed."""
        if self.phase is Phase.OPEN and now - self._since >= self._open_seconds(self.settings):
            return self.try_again(now)
        if self.phase is Phase.RECOVERING and now - self._since >= self.settings.slow_start_seconds:
            self._turn(Phase.CLOSED, now)
            self._in_row = 0
            return True
        return False

    def restarted(self, now: float) -> bool:
        """Another engine serves there now: it is given calls slowly, and what was counted before was not its doing.

        Whether its phase has changed; one that is out or on trial stays that.
        """
        if self.phase not in (Phase.CLOSED, Phase.RECOVERING):
            return False
        self._turn(Phase.RECOVERING, now)
        self.epoch += 1
        self._undecided = 0
        self._counts.clear()
        return True

    def try_again(self, now: float) -> bool:
        """From open to half-open, whatever the time; whether it was open."""
        if self.phase is not Phase.OPEN:
            return False
        self._turn(Phase.HALF_OPEN, now)
        self._undecided = self._well = 0
        return True

    def slots(self, in_flight: int, slots: int, now: float) -> int:
        """How many of a replica's slots it may use now. Calls from before it opened may still hold some."""
        if self.phase is Phase.CLOSED:
            return slots
        if self.phase is Phase.OPEN:
            return 0
        if self.phase is Phase.HALF_OPEN:
            return min(in_flight + max(self.settings.trial_calls - self._undecided - self._well, 0), slots)
        passed = (now - self._since) / max(self.settings.slow_start_seconds, 1e-9)
        return min(math.ceil(slots * (_FIRST_SHARE + (1 - _FIRST_SHARE) * max(passed, 0.0))), slots)

    def told(self) -> str:
        """The counts, for the log."""
        return f"{self._counts.second} of {self._counts.first + self._counts.second} failed"

    def _is_too_much(self) -> bool:
        failed = self._counts.second
        seen = failed + self._counts.first
        return seen >= self.settings.minimum_calls and failed >= self.settings.failure_share * seen

    def _open_seconds(self, settings: BreakerSettings) -> float:
        return float(min(settings.open_seconds * 2 ** min(self._in_row - 1, 30), settings.longest_open_seconds))

    def _turn(self, phase: Phase, now: float) -> None:
        self.phase, self._since = phase, now
