"""What decides: admission (may it run), routing (where), attribution (what must be shown)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.contracts.backend import Replica
from gateway.contracts.call import Call, Outcome


class Lease(Protocol):
    """What an admission granted.

    It may have an attribute `headers`, a sequence of header names in lower case and values: the client gets them with
    its answer, whatever that is.
    """

    def settle(self, outcome: Outcome) -> Awaitable[None] | None:
        """Give it back. Called exactly once, whatever happens, in reverse order of admission, never cancelled."""


class AdmissionPolicy(Protocol):
    """May this call run?"""

    async def admit(self, call: Call) -> Lease | None:
        """Grant, with a lease if there is something to give back.

        Raises:
            Rejected, QuotaExceeded: the call must not run. Leases that were granted before are settled.
        """


class RoutingPolicy(Protocol):
    """Where should this call run?"""

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Keep, drop or reorder what the policy before it left; best first. No I/O, no waiting; on the call's way."""


class Attribution(Struct, frozen=True):
    """What a product must be told about the weights that serve it: header names in lower case, and what to record."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    record: str = ""


class AttributionPolicy(Protocol):
    """What must be shown for the weights that will serve this call?"""

    def annotate(self, call: Call, replica: Replica) -> Attribution | None:
        """Decide after routing, per attempt, before the first byte. No I/O, no waiting.

        Raises:
            Rejected: the call must not be answered from these weights.
        """
