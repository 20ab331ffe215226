"""How one replica is, put together from four sources: probes, the breaker, whoever drained it, and its own Retry-After."""

from __future__ import annotations

import time
import weakref
from typing import Protocol

import structlog

from gateway.contracts.backend import RUNNING_STATES, Replica, ReplicaState
from gateway.fleet.breaker import Breaker, Phase
from gateway.settings import BreakerSettings

log = structlog.get_logger("moegate.fleet")

FIRST_REST_SECONDS = 0.1


class Watcher(Protocol):
    """Whoever must know when a replica changes."""

    def changed(self) -> None:
        """The state of a replica has changed."""

    def unsettled(self) -> None:
        """A replica will change by time alone: see `Condition.advance`."""


class Condition:
    """The one writer of a replica's state, slots and breaker; lives as long as the replica, over reloads.

    Attributes:
        found: what probes, or the supervisor of its engine, say.
        breaker: None where the configuration wants none.
        rest_seconds: how long its last rest was; 0 when it has served since.
        watchers: held weakly.
    """

    __slots__ = (
        "_held_until", "_on_trial", "_reason", "_rests_until", "_spared_until", "_was_ready",
        "breaker", "found", "replica", "rest_seconds", "watchers",
    )  # fmt: skip

    def __init__(self, replica: Replica, settings: BreakerSettings | None = None) -> None:
        self.replica = replica
        self.found = replica.state
        self.watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self.breaker: Breaker | None = None
        self._reason = replica.state_reason
        self._held_until = 0.0
        self._rests_until = self.rest_seconds = 0.0
        self._on_trial = False
        self._spared_until = 0.0
        self._was_ready = replica.state is ReplicaState.READY
        self.adopt(settings)

    def adopt(self, settings: BreakerSettings | None) -> None:
        """Go by these settings from now on; other ones than before begin anew."""
        if settings is None or not settings.enabled:
            self.breaker = None
        elif self.breaker is None or self.breaker.settings != settings:
            self.breaker = Breaker(settings)
        else:
            return
        self.settle()

    @property
    def settled(self) -> bool:
        """Whether nothing of it changes by time alone."""
        return not self._held_until and (self.breaker is None or self.breaker.phase is Phase.CLOSED)

    @property
    def stands(self) -> bool:
        """Whether calls may count on it: it is ready, nobody drained it, and it is not out or on trial."""
        out = self.breaker is not None and self.breaker.phase in (Phase.OPEN, Phase.HALF_OPEN)
        return self.found is ReplicaState.READY and not self.replica.drained and not out

    def report(self, state: ReplicaState, reason: str) -> bool:
        """Take what a probe or a supervisor found; whether it is ready again after its engine was away."""
        is_ready, is_away = state is ReplicaState.READY, self.found not in RUNNING_STATES
        is_back = is_ready and is_away and self._was_ready
        self._was_ready |= is_ready
        self.found, self._reason = state, reason
        self.settle()
        return is_back

    def drain(self, *, drained: bool) -> None:
        """Place no more calls here, or do so again."""
        if self.replica.drained is not drained:
            self.replica.drained = drained
            log.info("replica drained" if drained else "replica resumed", replica=self.replica.name)
            self.settle()

    def hold(self, seconds: float, now: float) -> None:
        """The engine has asked not to be called for so long."""
        self._held_until = max(self._held_until, now + seconds)
        self.settle(now)

    def held_seconds(self, now: float) -> float:
        """For how long it is still not to be called."""
        return max(self._held_until - now, 0.0)

    def rest(self, longest_seconds: float, now: float) -> None:
        """It is overloaded, and has not said for how long. Calls that were on their way when it began to rest say no more."""
        if now >= self._rests_until or self._on_trial:
            self._on_trial = False
            self.rest_seconds = min(max(2 * self.rest_seconds, FIRST_REST_SECONDS), longest_seconds)
            self._rests_until = now + self.rest_seconds

    def try_rested(self, now: float) -> None:
        """A call is placed there after its rest: the next ones wait for what becomes of it, or for as long again."""
        if now >= self._rests_until:
            self._on_trial = True
            self._rests_until = now + self.rest_seconds

    def rested(self) -> None:
        """It serves again."""
        self._on_trial = False
        self.rest_seconds = self._rests_until = 0.0

    def rests(self, now: float) -> bool:
        """Whether others are to be called instead, if there are any."""
        return now < self._rests_until

    def eject(self, now: float) -> None:
        """Too many calls failed: open the breaker."""
        breaker = self.breaker
        if breaker is not None:
            because = "a trial failed" if breaker.phase is Phase.HALF_OPEN else breaker.told()
            seconds = breaker.open(now)
            log.warning("replica ejected", replica=self.replica.name, because=because, seconds=seconds)
            self.settle(now)

    def spare(self, now: float) -> None:
        """Too many calls failed, but too few replicas would be left: say so, once a window."""
        breaker = self.breaker
        if breaker is not None and now >= self._spared_until:
            self._spared_until = now + breaker.settings.window_seconds
            log.warning("replica not ejected, too few would be left", replica=self.replica.name, because=breaker.told())

    def try_again(self, now: float) -> None:
        """Have it tried before its time, as there is no other."""
        if self.breaker is not None and self.breaker.try_again(now):
            log.info("replica on trial before its time, there is no other", replica=self.replica.name)
            self.settle(now)

    def advance(self, now: float) -> None:
        """Let time do its part."""
        if self._held_until and now >= self._held_until:
            self._held_until = 0.0
        if self.breaker is not None and self.breaker.advance(now):
            self._log_phase(self.breaker.phase)
        self.settle(now)

    def recovers(self, now: float) -> None:
        """All trials have served."""
        self._log_phase(Phase.RECOVERING)
        self.settle(now)

    def start_slowly(self, now: float) -> None:
        """Its engine was started again, and others serve meanwhile."""
        if self.breaker is not None and self.breaker.restarted(now):
            self._log_phase(Phase.RECOVERING)
            self.settle(now)

    def allot(self) -> None:
        """An attempt has begun or ended while it is on trial, which changes how many more there may be."""
        self._allot(time.monotonic())

    def settle(self, now: float | None = None) -> None:
        """Write down what all sources come to, and tell the watchers if that is something else than before."""
        replica = self.replica
        state, reason = self.found, self._reason
        if state is ReplicaState.READY:
            if replica.drained:
                state, reason = ReplicaState.DRAINING, "drained by an operator"
            elif self.breaker is not None and self.breaker.phase is Phase.OPEN:
                state, reason = ReplicaState.EJECTED, "too many calls failed here"
        moment = time.monotonic() if now is None else now
        self._allot(moment)
        changed = replica.state is not state
        if changed:
            replica.changed_at = moment
        replica.state, replica.state_reason = state, reason
        if changed:
            for watcher in tuple(self.watchers):
                watcher.changed()
        if not self.settled:
            for watcher in tuple(self.watchers):
                watcher.unsettled()

    def _allot(self, now: float) -> None:
        replica, breaker = self.replica, self.breaker
        slots, phase = replica.max_concurrent, Phase.CLOSED
        if breaker is not None:
            slots, phase = breaker.slots(replica.in_flight, slots, now), breaker.phase
        replica.breaker = phase.value
        replica.slots = 0 if self._held_until > now else slots

    def _log_phase(self, phase: Phase) -> None:
        texts = {Phase.HALF_OPEN: "replica on trial", Phase.RECOVERING: "replica recovers"}
        log.info(texts.get(phase, "replica recovered"), replica=self.replica.name)
