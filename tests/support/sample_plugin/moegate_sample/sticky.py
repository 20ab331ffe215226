"""Sends the same asker to the same replica, whose cache then knows the beginning of the prompt; looks at no load."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from gateway import BuildContext, Call, Replica, RoutingPolicy


class StickySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`by` says whose calls stay together: a tenant's, a key's, or those of one `user` of the request."""

    by: Literal["tenant", "key", "user"] = "tenant"


class Sticky:
    """The policy: rendezvous hashing, so that a replica that goes or comes moves only its own share of the askers."""

    def __init__(self, settings: StickySettings) -> None:
        self._by = settings.by

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Order by a hash of asker and replica. The second in the list is where a retry goes: always the same one too."""
        asker = self._asker(call)
        return sorted(replicas, key=lambda replica: _weight(asker, replica.name), reverse=True)

    def _asker(self, call: Call) -> str:
        if self._by == "user" and call.user is not None:
            return call.user
        return call.principal.key_id if self._by == "key" else call.principal.tenant


def _weight(asker: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{asker}\0{replica}".encode(), digest_size=8).digest()


def build_sticky(settings: StickySettings, _: BuildContext) -> RoutingPolicy:
    """Build the policy; called once per runtime, which is at the start and at every reload."""
    return Sticky(settings)
