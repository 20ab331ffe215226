"""Puts the replica first that has the smallest share of its slots in use; sees only what this gateway placed there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway import BuildContext, Call, Extension, NoSettings, Replica, RoutingPolicy, hookimpl


class LeastLoaded:
    """The policy. Ties are taken in turn, so that idle replicas share the work instead of the first having all of it."""

    def __init__(self) -> None:
        self._turn = 0

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:  # noqa: ARG002 - any call alike
        """Order by calls in flight over max_concurrent."""
        if len(replicas) <= 1:
            return replicas
        self._turn += 1
        start = self._turn % len(replicas)
        rotated = [*replicas[start:], *replicas[:start]]
        return sorted(rotated, key=_share)


def _share(replica: Replica) -> float:
    return replica.in_flight / replica.max_concurrent


def _build(_: NoSettings, __: BuildContext) -> RoutingPolicy:
    return LeastLoaded()


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("least_loaded", NoSettings, _build)]
