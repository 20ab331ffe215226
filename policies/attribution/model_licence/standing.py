"""The one snapshot that holds now, and who follows it; shared by all that the package builds, over reloads."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from policies.attribution.model_licence.products import Snapshot


class Follower(Protocol):
    """Whoever makes something of a snapshot ahead of the calls that need it."""

    def follow(self, snapshot: Snapshot) -> None:
        """Another snapshot holds from now on. No waiting."""


class Standing:
    """What holds now. Followers are known only as long as somebody else holds them: a reload's are forgotten with it.

    Attributes:
        snapshot: read it anew for each use.
    """

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.snapshot = snapshot if snapshot is not None else Snapshot()
        self._followers: WeakSet[Follower] = WeakSet()

    def tell(self, follower: Follower) -> None:
        """Tell it of each snapshot from now on, beginning with this one."""
        self._followers.add(follower)
        follower.follow(self.snapshot)

    def publish(self, snapshot: Snapshot) -> None:
        """Let a snapshot hold, and have every follower make what it makes of it before this returns."""
        self.snapshot = snapshot
        for follower in tuple(self._followers):
            follower.follow(snapshot)
