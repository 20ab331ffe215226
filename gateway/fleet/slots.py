"""An attempt's place on a replica: counted while it is held, and what became of the attempt is told to the replica's breaker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.errors import UpstreamError, UpstreamOverloaded
from gateway.fleet.breaker import Phase, Verdict, verdict_of

if TYPE_CHECKING:
    from gateway.fleet.pool import Member, Pool


class Slot:
    """One of a replica's slots. Whoever takes one releases it; the rest may be said or not.

    Says nothing: `release` alone, as when the client left before the engine had answered.
    """

    __slots__ = ("_epoch", "_held", "_pool", "_well", "member")

    def __init__(self, pool: Pool, member: Member) -> None:
        self.member = member
        self._pool = pool
        self._held = True
        self._well = False
        member.replica.in_flight += 1
        condition = member.condition
        if condition.rest_seconds:
            condition.try_rested(time.monotonic())
        breaker = condition.breaker
        if breaker is None:
            self._epoch = 0
            return
        self._epoch = breaker.began()
        if breaker.phase is Phase.HALF_OPEN:
            condition.allot()

    def well(self) -> None:
        """The engine serves, or refuses the request itself, which takes an engine that is well."""
        condition = self.member.condition
        if condition.rest_seconds:
            condition.rested()
        breaker = condition.breaker
        if self._well or breaker is None:
            return
        self._well = True
        now = time.monotonic()
        if breaker.well(self._epoch, now):
            condition.recovers(now)

    def failed(self, error: UpstreamError) -> None:
        """The engine failed, before or after it had begun to serve."""
        condition = self.member.condition
        if isinstance(error, UpstreamOverloaded):
            self._overloaded(error)
        verdict, breaker = verdict_of(error), condition.breaker
        if verdict is Verdict.WELL:
            self.well()
        if verdict is not Verdict.FAILED or breaker is None:
            return
        now = time.monotonic()
        if breaker.failed(self._epoch, now, was_well=self._well):
            if self._pool.may_eject(self.member):
                condition.eject(now)
            else:
                condition.spare(now)

    def _overloaded(self, error: UpstreamOverloaded) -> None:
        settings = self._pool.retries.settings
        if error.asked_seconds is None:
            self._pool.rest(self.member, settings.longest_rest_seconds)
        elif (seconds := min(error.asked_seconds, settings.longest_hold_seconds)) > 0:
            self.member.condition.hold(seconds, time.monotonic())

    def release(self) -> None:
        """Give it back; harmless when repeated."""
        if not self._held:
            return
        self._held = False
        replica, condition = self.member.replica, self.member.condition
        if replica.in_flight > 0:
            replica.in_flight -= 1
        breaker = condition.breaker
        if breaker is None:
            return
        if not self._well:
            breaker.ended(self._epoch)
        if breaker.phase is Phase.HALF_OPEN:
            condition.allot()
