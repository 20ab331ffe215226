"""Asks the admission policies in order and gives every lease back exactly once, last granted first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import structlog

from gateway.contracts.call import Call, Outcome
from gateway.contracts.policy import AdmissionPolicy, Lease
from gateway.errors import GatewayError, PolicyFailed

log = structlog.get_logger("moegate.admission")


class Leases:
    """What was granted to one call so far."""

    __slots__ = ("_granted",)

    def __init__(self) -> None:
        self._granted: list[tuple[str, Lease]] = []

    def add(self, policy: str, lease: Lease) -> None:
        """Take charge of a lease."""
        self._granted.append((policy, lease))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the client gets with its answer; a lease need not know of headers."""
        told: list[tuple[bytes, bytes]] = []
        for _, lease in self._granted:
            told += getattr(lease, "headers", ())
        return told

    async def settle(self, outcome: Outcome) -> None:
        """Give all back, last first. A policy that crashes is logged; the others are still settled.

        A cancellation that comes while a policy is awaited waits until all are settled.
        """
        while self._granted:
            policy, lease = self._granted.pop()
            try:
                waiting = lease.settle(outcome)
                if waiting is not None:
                    # From here on it takes waiting, which a cancellation could break off: the rest gets its own task.
                    await _uncancelled(self._settle_rest(policy, waiting, outcome))
            except Exception:
                log.exception("policy failed to settle", policy=policy)

    async def _settle_rest(self, policy: str, waiting: Awaitable[None], outcome: Outcome) -> None:
        try:
            await waiting
        except Exception:
            log.exception("policy failed to settle", policy=policy)
        await self.settle(outcome)


async def admit(policies: Sequence[tuple[str, AdmissionPolicy]], call: Call, leases: Leases) -> None:
    """Ask each policy; what it grants goes into `leases`, whose owner settles them whatever happens here.

    Raises:
        GatewayError: a policy refuses.
        PolicyFailed: a policy crashed.
    """
    for name, policy in policies:
        try:
            lease = await policy.admit(call)
        except GatewayError:
            raise
        except Exception as error:
            raise PolicyFailed(f"admission policy {name} crashed on {call.call_id}") from error
        if lease is not None:
            leases.add(name, lease)


async def _uncancelled(work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
