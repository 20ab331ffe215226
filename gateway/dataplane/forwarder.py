"""Tries replicas in rank order until one truly answers; nothing has reached the client while it is at work."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import structlog

from gateway.contracts.backend import Replica, ReplicaState
from gateway.contracts.call import Attempt, Call, Outcome
from gateway.contracts.policy import AttributionPolicy
from gateway.dataplane.attempting import CLIENT_LEFT, Answer, Attempting
from gateway.dataplane.hedging import HEDGE_LOST, Trial, race, settle_order
from gateway.dataplane.placement import RETRY_AFTER_SECONDS
from gateway.dataplane.watching import Watchers
from gateway.errors import (
    GatewayError,
    NoReplicaAvailable,
    PolicyFailed,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamUnreachable,
)
from gateway.fleet.hedges import Hedges
from gateway.fleet.pool import Member, Pool
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.upstream import ConnectionPool

log = structlog.get_logger("moegate.forwarder")

# What an engine asked for is waited for and a little more, each call another little: else all come back at once.
JITTER_SHARE = 0.25
MOST_REASON = 300

# Of no consequence who guesses it.
_random = random.Random().random  # noqa: S311


class Forwarder:
    """Sends calls to replicas."""

    def __init__(
        self,
        connections: ConnectionPool,
        fleet: PooledFleet,
        attribution: Sequence[tuple[str, AttributionPolicy]],
        max_answer_bytes: int,
        watchers: Watchers = (),
    ) -> None:
        self._fleet = fleet
        self._attempting = Attempting(connections, attribution, max_answer_bytes, watchers)
        self.aborts = self._attempting.aborts

    async def forward(self, call: Call, pool: Pool, ranked: Iterable[Replica], outcome: Outcome) -> Answer:
        """Return the first good answer; every try is noted in `outcome.attempts`, the one that served last.

        Raises:
            UpstreamError: the last try's failure, when no try is left, there is no budget for one, or it would not help.
            NoReplicaAvailable: every ranked replica filled up since it was ranked.
        """
        budget = pool.retries.budget
        budget.called(time.monotonic())
        tries = Tries(pool, ranked)
        failure: UpstreamError | None = None
        while len(outcome.attempts) < pool.max_attempts:
            member = tries.next()
            if member is None and failure is not None and tries.only_overloaded:
                member = await self._patiently(pool, tries)
            if member is None or (failure is not None and not budget.spend(time.monotonic(), failure.code)):
                break
            trial = Trial(member, len(outcome.attempts) + 1)
            try:
                if pool.hedges is None or not call.stream:
                    return await self._attempt(call, pool, outcome, tries, trial)
                return await self._hedge(call, pool, pool.hedges, outcome, tries, trial)
            except UpstreamError as error:
                if not error.retryable:
                    raise
                failure = error
                tries.only_overloaded &= isinstance(error, UpstreamOverloaded)
        if failure is not None:
            raise failure
        raise NoReplicaAvailable(
            f"All replicas of {pool.model.name} are at their max_concurrent.", retry_after_seconds=RETRY_AFTER_SECONDS
        )

    async def _hedge(
        self, call: Call, pool: Pool, hedges: Hedges, outcome: Outcome, tries: Tries, first: Trial
    ) -> Answer:
        """One try, and a second one beside it if it is late."""
        began = time.monotonic()
        hedges.budget.called(began)
        name = first.member.replica.name
        run = partial(self._attempt, call, pool, outcome, tries)
        delay = hedges.delay(name)
        if delay is None:
            answer = await run(first)
        else:

            def second() -> Trial | None:
                if first.number >= pool.max_attempts or (other := tries.peek()) is None:
                    return None
                if not hedges.budget.spend(time.monotonic(), "late"):
                    return None
                tries.next()
                return Trial(other, first.number + 1, hedge=True)

            trial, answer = await race(run, first, delay, second)
            hedges.won += trial.hedge
            outcome.checkpoint = trial.member.replica.checkpoint
            settle_order(outcome, trial)
        # One that was late and lost is taken to have come now: if it were left out, what counts as late would only shrink.
        hedges.note(name, time.monotonic() - began)
        return answer

    async def _attempt(self, call: Call, pool: Pool, outcome: Outcome, tries: Tries, trial: Trial) -> Answer:
        """One try, noted with its end."""
        replica = trial.member.replica
        began = time.monotonic()
        code: str | None = None
        reason = ""
        # An empty answer is given away only while there is somebody else to ask.
        may_be_empty = (
            not pool.retries.settings.empty_answers or tries.peek() is None or trial.number >= pool.max_attempts
        )
        try:
            return await self._attempting.attempt(
                call, pool, trial.member, trial.number, outcome, may_be_empty=may_be_empty
            )
        except asyncio.CancelledError:
            code = HEDGE_LOST if trial.lost else CLIENT_LEFT
            raise
        except UpstreamError as error:
            code = error.code
            # What an engine says of a request may hold a piece of it; and an address is for the log alone.
            if not isinstance(error, UpstreamRefused):
                reason = error.message.removeprefix(f"{trial.member.origin.label}: ")[:MOST_REASON]
            self._note_failure(call, replica, error)
            raise
        except BaseException:
            code = ""  # of ours, and not an attempt
            raise
        finally:
            if code != "":
                seconds = time.monotonic() - began
                at = began - call.received_at
                outcome.attempts += (Attempt(replica.name, replica.backend, code, at, seconds, reason, trial.hedge),)

    async def _patiently(self, pool: Pool, tries: Tries) -> Member | None:
        """Wait for the first of the overloaded to come back, if it has said when and that is soon. Once a call."""
        settings = pool.retries.settings
        found = tries.first_back(time.monotonic(), settings.longest_pause_seconds)
        if found is None:
            return None
        member, seconds = found
        pool.retries.pauses += 1
        await asyncio.sleep(seconds + _random() * JITTER_SHARE * seconds)
        member.condition.advance(time.monotonic())
        return member if usable(member.replica) else None

    def _note_failure(self, call: Call, replica: Replica, error: UpstreamError) -> None:
        log.log(
            log_level_number(error),
            "attempt failed",
            call_id=call.call_id,
            replica=replica.name,
            error=error.code,
            reason=error.message,
        )
        if isinstance(error, UpstreamUnreachable):
            self._fleet.report(replica, ReplicaState.UNREACHABLE, "the last call could not connect")


class Tries:
    """Whom a call may still try, in rank order.

    Attributes:
        only_overloaded: all that were tried said that they are overloaded.
    """

    __slots__ = ("_next", "_pool", "_rest", "_tried", "only_overloaded")

    def __init__(self, pool: Pool, ranked: Iterable[Replica]) -> None:
        self._pool = pool
        self._rest: Iterator[Replica] = iter(ranked)
        self._next: Member | None = None
        self._tried: list[Member] = []
        self.only_overloaded = True

    def next(self) -> Member | None:
        """The next one that can still take a call; None if there is none.

        Raises:
            PolicyFailed: a routing policy made a replica up.
        """
        member = self._next
        if member is None or not usable(member.replica):
            member = self._find()
        self._next = None
        if member is not None:
            self._tried.append(member)
        return member

    def peek(self) -> Member | None:
        """What `next` would return."""
        if self._next is None or not usable(self._next.replica):
            self._next = self._find()
        return self._next

    def _find(self) -> Member | None:
        for replica in self._rest:
            member = self._pool.member(replica)
            if member is None:
                raise PolicyFailed(f"a routing policy returned a replica that is not of pool {self._pool.model.name}")
            if usable(replica):
                return member
        return None

    def first_back(self, now: float, within_seconds: float) -> tuple[Member, float] | None:
        """Who of those that were tried comes back first, and in how many seconds; None if later, or if one did not say."""
        waits = [(member.condition.held_seconds(now), member) for member in self._tried]
        self._tried = []
        if not waits or min(wait for wait, _ in waits) <= 0:
            return None
        seconds, member = min(waits, key=lambda wait: wait[0])
        return (member, seconds) if seconds <= within_seconds else None


def usable(replica: Replica) -> bool:
    """Whether it can take a call at this moment; it may have filled up, or worse, since it was ranked."""
    return replica.in_flight < replica.slots and replica.state is ReplicaState.READY


_LEVELS = {"info": 20, "warning": 30, "error": 40}


def log_level_number(error: GatewayError) -> int:
    """The standard logging level of an error's class."""
    return _LEVELS[error.log_level]
