"""Puts replicas first in turn, whatever they have to do; a baseline to compare with, and right where all are alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway import BuildContext, Call, Extension, NoSettings, Replica, RoutingPolicy, hookimpl


class RoundRobin:
    """The policy."""

    def __init__(self) -> None:
        self._turn = 0

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:  # noqa: ARG002 - any call alike
        """Begin one further each time."""
        if len(replicas) <= 1:
            return replicas
        start = self._turn % len(replicas)
        self._turn += 1
        return [*replicas[start:], *replicas[:start]]


def _build(_: NoSettings, __: BuildContext) -> RoutingPolicy:
    return RoundRobin()


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("round_robin", NoSettings, _build)]
