"""Sends a call where its header says, for callers who may: `x-moegate-pin: replica=NAME` or `backend=NAME`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gateway import BuildContext, Call, Extension, NoSettings, Ranking, Replica, RoutingPolicy, Scope, hookimpl
from gateway.contracts.plugin import Fleet
from gateway.errors import InvalidRequest, NoReplicaAvailable, Rejected

HEADER = b"x-moegate-pin"
RETRY_AFTER_SECONDS = 1.0

_PIN = re.compile(rb"(replica|backend)=([A-Za-z0-9._:/-]{1,128})")


class Pin:
    """The policy. Without the header a call is none of its business."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
        """Keep what the call is pinned to.

        Raises:
            Rejected: the caller's key has not the scope `pin`.
            InvalidRequest: the header cannot be read, or the model has no such replica.
            NoReplicaAvailable: it has, but none that can take the call now.
        """
        values = [value for name, value in call.headers if name == HEADER]
        if not values:
            return replicas
        if Scope.PIN not in call.principal.scopes:
            raise Rejected(f"This key may not use {HEADER.decode()}; it lacks the scope {Scope.PIN.value}.")
        found = _PIN.fullmatch(values[0].strip()) if len(values) == 1 else None
        if found is None:
            raise InvalidRequest(f"{HEADER.decode()} must be replica=NAME or backend=NAME, and stand once.")
        kind, name = found[1].decode(), found[2].decode()
        left = [replica for replica in replicas if _is(replica, kind, name)]
        if left:
            return Ranking(left, reason="pinned elsewhere")
        known = any(_is(each, kind, name) for each in self._fleet.replicas() if each.model == call.model.name)
        if not known:
            raise InvalidRequest(
                f"{call.model.name} has no {kind} named {name}, to which {HEADER.decode()} pins this call."
            )
        raise NoReplicaAvailable(
            f"{call.model.name} has no {kind} named {name} that can take this call now; {HEADER.decode()} allows no other.",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


def _is(replica: Replica, kind: str, name: str) -> bool:
    return (replica.name if kind == "replica" else replica.backend) == name


def _build(_: NoSettings, context: BuildContext) -> RoutingPolicy:
    return Pin(context.fleet)


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("pin", NoSettings, _build)]
