"""Puts the replica first that answered fastest of late, times the calls it has: quick to see a stall, slow to forgive it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway import (
    AttemptEnd,
    AttemptWatch,
    BuildContext,
    Call,
    Extension,
    Ranking,
    Replica,
    RoutingObserver,
    RoutingPolicy,
    hookimpl,
)

MOST_REPLICAS = 4_096
# What a replica counts that has calls but no answer yet: it is not to get all others too before one is there.
UNKNOWN_SECONDS = 1.0


class PeakEwmaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is watched, and for how long it counts.

    Attributes:
        of: seconds to the `first_event` of streams and of plain answers their whole, or the `whole` of every answer.
        decay_seconds: after so long without a new figure the last one counts for about a third.
    """

    of: Literal["first_event", "whole"] = "first_event"
    decay_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 10.0


class _Latency:
    __slots__ = ("at", "known", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.at = 0.0
        self.known = False


class PeakEwma:
    """The policy, and its own observer: a figure above the mean replaces it at once, one below draws it down with time.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, settings: PeakEwmaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._whole = settings.of == "whole"
        self._decay = settings.decay_seconds
        self._clock = clock
        self._latencies: dict[str, _Latency] = {}
        self._turn = 0

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """Itself."""
        return (self,)

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:  # noqa: ARG002 - any call alike
        """Order by latency times calls, the new one among them."""
        count = len(replicas)
        if count <= 1:
            return replicas
        now, latencies = self._clock(), self._latencies
        self._turn += 1
        start = self._turn % count
        rotated = [*replicas[start:], *replicas[:start]]
        costs = []
        for replica in rotated:
            latency = latencies.get(replica.name)
            if latency is None or not latency.known:
                costs.append(UNKNOWN_SECONDS * replica.in_flight)
            else:
                costs.append(latency.seconds * math.exp((latency.at - now) / self._decay) * (replica.in_flight + 1))
        order = sorted(range(count), key=costs.__getitem__)
        return Ranking([rotated[at] for at in order], [costs[at] for at in order], "seconds times calls")

    def placed(self, call: Call, replica: Replica) -> AttemptWatch | None:  # noqa: ARG002 - any call alike
        """An attempt begins."""
        latency = self._latencies.get(replica.name)
        if latency is None:
            if len(self._latencies) >= MOST_REPLICAS:
                self._latencies.pop(next(iter(self._latencies)))
            latency = self._latencies[replica.name] = _Latency()
        return _Watch(self, latency)

    def learn(self, latency: _Latency, seconds: float) -> None:
        """Take one figure."""
        now = self._clock()
        weight = math.exp((latency.at - now) / self._decay) if latency.known else 0.0
        mean = latency.seconds * weight + seconds * (1.0 - weight)
        latency.seconds = max(seconds, mean) if latency.known and seconds > latency.seconds * weight else mean
        latency.at = now
        latency.known = True

    @property
    def whole(self) -> bool:
        """Whether whole answers are watched rather than first events."""
        return self._whole


class _Watch:
    __slots__ = ("_latency", "_policy")

    def __init__(self, policy: PeakEwma, latency: _Latency) -> None:
        self._policy, self._latency = policy, latency

    def answered(self, seconds: float) -> None:
        if not self._policy.whole:
            self._policy.learn(self._latency, seconds)

    def ended(self, end: AttemptEnd) -> None:
        # A failure that comes at once is no speed; one that came late, or a client that had enough, was as slow as that.
        latency = self._latency
        has_answer = end.error_code is None
        slow = end.seconds > latency.seconds and end.first_event_seconds is None
        if self._policy.whole:
            if has_answer or end.seconds > latency.seconds:
                self._policy.learn(latency, end.seconds)
        elif (has_answer and end.events == 0) or slow:
            self._policy.learn(latency, end.seconds)


def _build(settings: PeakEwmaSettings, context: BuildContext) -> RoutingPolicy:
    key = ("routing", "peak_ewma", settings.of, str(settings.decay_seconds))
    return context.shared(key, lambda: PeakEwma(settings))


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("peak_ewma", PeakEwmaSettings, _build)]
