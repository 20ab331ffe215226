"""Tells routing policies that learn what becomes of each attempt; where none of them does, nothing is kept and nothing called."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from gateway.contracts.backend import Replica
from gateway.contracts.call import Call, Usage
from gateway.contracts.policy import AttemptEnd, AttemptWatch, Observant, RoutingObserver

log = structlog.get_logger("moegate.watching")

# How an attempt ended that had an answer, but not all of it: what cut it short is the call's affair.
BROKEN_OFF = "broken_off"

Watchers = Sequence[tuple[str, RoutingObserver]]


def watchers_of(policies: Iterable[tuple[str, Any]]) -> Watchers:
    """Who of these policies wants to be told; one that several share comes once, under the first one's name."""
    found: dict[int, tuple[str, RoutingObserver]] = {}
    for name, policy in policies:
        if isinstance(policy, Observant):
            for observer in policy.observers:
                found.setdefault(id(observer), (name, observer))
    return tuple(found.values())


class Watching:
    """What is told of one attempt; no watcher's crash reaches the call."""

    __slots__ = ("_clock", "_first", "_sent_at", "_watches")

    def __init__(
        self, watchers: Watchers, call: Call, replica: Replica, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._first: float | None = None
        self._watches: list[tuple[str, AttemptWatch]] = []
        for name, watcher in watchers:
            try:
                watch = watcher.placed(call, replica)
            except Exception:
                log.exception("routing policy failed to watch", policy=name)
            else:
                if watch is not None:
                    self._watches.append((name, watch))
        self._sent_at = clock()

    def answered(self, *, whole: bool) -> None:
        """The first event is there, or all of an answer that comes in one piece."""
        self._first = seconds = self._clock() - self._sent_at
        if whole:
            return
        for name, watch in self._watches:
            try:
                watch.answered(seconds)
            except Exception:
                log.exception("routing policy failed to watch", policy=name)

    def ended(self, error_code: str | None, usage: Usage | None = None, events: int = 0) -> None:
        """The attempt is over; whoever says so second says nothing new."""
        watches, self._watches = self._watches, []
        if not watches:
            return
        end = AttemptEnd(
            seconds=self._clock() - self._sent_at,
            first_event_seconds=self._first,
            usage=usage,
            events=events,
            error_code=error_code,
        )
        for name, watch in watches:
            try:
                watch.ended(end)
            except Exception:
                log.exception("routing policy failed to watch", policy=name)
