"""What routing policies are tested with: their answers as lists, a clock that stands until it is set, and attempts that end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway import AttemptEnd, AttemptWatch, Call, Ranking, Replica, RoutingObserver, RoutingPolicy, Usage


class Clock:
    """Monotonic seconds, as a test sets them."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Counter:
    """Every prompt has as many tokens as its call's body has bytes, and every answer 50."""

    def estimate(self, call: Call) -> int:
        return len(call.body)

    async def exact(self, call: Call) -> int | None:
        return len(call.body)

    def produced(self, call: Call, backend: str, events: int) -> int:
        return events

    def typical_output(self, call: Call) -> int:
        return 50


class Watched:
    """An attempt that somebody watches."""

    def __init__(self, watches: Sequence[AttemptWatch], replica: Replica) -> None:
        self._watches = watches
        self._replica = replica

    def answered(self, seconds: float) -> None:
        for watch in self._watches:
            watch.answered(seconds)

    def ended(self, seconds: float, **facts: Any) -> None:
        self._replica.in_flight -= 1
        for watch in self._watches:
            watch.ended(AttemptEnd(seconds=seconds, **facts))


def ranked(policy: RoutingPolicy, call: Call, replicas: Sequence[Replica]) -> list[Replica]:
    """The replicas that a policy leaves; whatever else it says must fit to them."""
    found = policy.rank(call, replicas)
    if isinstance(found, Ranking):
        assert len(found.scores) in (0, len(found.replicas))
        return list(found.replicas)
    return list(found)


def names(policy: RoutingPolicy, call: Call, replicas: Sequence[Replica]) -> list[str]:
    """Their names."""
    return [replica.name for replica in ranked(policy, call, replicas)]


def place(observers: Sequence[RoutingObserver], call: Call, replica: Replica) -> Watched:
    """Begin an attempt as the forwarder does."""
    replica.in_flight += 1
    watches = [observer.placed(call, replica) for observer in observers]
    return Watched([watch for watch in watches if watch is not None], replica)


def serve(
    observers: Sequence[RoutingObserver], call: Call, replica: Replica, first: float, whole: float, **usage: int
) -> None:
    """One attempt that is answered after `first` seconds and over after `whole`."""
    attempt = place(observers, call, replica)
    if call.stream:
        attempt.answered(first)
    attempt.ended(whole, first_event_seconds=first, usage=Usage(**usage), events=10 if call.stream else 0)


def same_replicas(left: Sequence[Replica], right: Sequence[Replica]) -> bool:
    """Whether two lists hold the same replicas in whatever order."""
    key: Callable[[Replica], int] = id
    return sorted(left, key=key) == sorted(right, key=key)
