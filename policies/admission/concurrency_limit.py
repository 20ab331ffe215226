"""Bounds the calls that one key has in flight; counts in this process and knows nothing of other nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from gateway import AdmissionPolicy, BuildContext, Call, Extension, Lease, Outcome, hookimpl
from gateway.errors import QuotaExceeded

RETRY_AFTER_SECONDS = 1.0


class ConcurrencyLimitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`per_key` calls of one key may be in flight at once."""

    per_key: Annotated[int, Meta(ge=1)]


class Slots:
    """Calls in flight by key. A key that has none takes no memory."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def taken(self, key_id: str) -> int:
        """How many the key has in flight."""
        return self._taken.get(key_id, 0)

    def take(self, key_id: str) -> None:
        """One more."""
        self._taken[key_id] = self._taken.get(key_id, 0) + 1

    def give_back(self, key_id: str) -> None:
        """One fewer."""
        left = self._taken[key_id] - 1
        if left:
            self._taken[key_id] = left
        else:
            del self._taken[key_id]


class Slot:
    """The lease: one of a key's slots."""

    __slots__ = ("_key_id", "_slots")

    def __init__(self, slots: Slots, key_id: str) -> None:
        self._slots = slots
        self._key_id = key_id

    def settle(self, outcome: Outcome) -> None:  # noqa: ARG002 - a slot comes back however the call ended
        """Free the slot."""
        self._slots.give_back(self._key_id)


class ConcurrencyLimit:
    """The policy."""

    def __init__(self, per_key: int, slots: Slots) -> None:
        self._per_key = per_key
        self._slots = slots

    async def admit(self, call: Call) -> Lease:
        """Take a slot of the caller's key.

        Raises:
            QuotaExceeded: all are taken.
        """
        key_id = call.principal.key_id
        if self._slots.taken(key_id) >= self._per_key:
            raise QuotaExceeded(
                f"This key has {self._per_key} calls in flight, which is its limit (concurrency_limit).",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._slots.take(key_id)
        return Slot(self._slots, key_id)


def _build(settings: ConcurrencyLimitSettings, context: BuildContext) -> AdmissionPolicy:
    # Calls that outlast a reload still count: the slots are shared by the runtimes, the limit is each one's own.
    return ConcurrencyLimit(settings.per_key, context.shared(("concurrency_limit",), Slots))


@hookimpl
def moegate_admission_policies() -> Iterable[Extension[AdmissionPolicy]]:
    """Register the policy."""
    return [Extension("concurrency_limit", ConcurrencyLimitSettings, _build)]
