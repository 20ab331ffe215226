"""What a source of targets is written against: it finds the engines of a model, and tells whenever they change."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from msgspec import Struct

_NAME = re.compile(r"[A-Za-z0-9._:/-]{0,96}")


class Target(Struct, frozen=True, kw_only=True):
    """One engine that was found.

    Attributes:
        url: its base URL, http or https.
        name: what it is called behind the replicas' common name, such as a pod's name; callers see it, so it must be no
            address. Where there is none, it is made of the URL, in a way that does not tell it.
        weight: its part of the calls among those of its tier, for policies that go by it.
        tier: 0 is asked first, for policies that go by it.
        labels: what else is known of it, for people.

    Raises:
        ValueError: one of these is not what it should be.
    """

    url: str
    name: str = ""
    weight: float = 1.0
    tier: int = 0
    labels: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        """Check what would be a fault of the whole configuration later."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a target's URL must be an http or https URL with a host")
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name[:96]!r} cannot be part of a replica's name")
        if not (math.isfinite(self.weight) and self.weight >= 0 and self.tier >= 0):
            raise ValueError("a target's weight and tier must not be below 0")


class TargetDocument(Struct, frozen=True):
    """A list of replicas as people write it: YAML or JSON, each as it would stand under `replicas`.

    Attributes:
        name: what errors call it; lines are added.
        reads_environment: whether `${NAME}` stands for a variable of the environment; not for what comes over a network.
    """

    text: str
    name: str
    reads_environment: bool = False


Found = Sequence[Target] | TargetDocument


class TargetListener(Protocol):
    """Whom a source tells."""

    def found(self, targets: Found) -> None:
        """The whole list as it is now; what was told before and is not in it has left.

        Told as often as wanted: only what differs is a change. An empty sequence, or one that is too long, is taken for
        a failure of the source, and the list before stays; an empty document is what its author wants.
        """

    async def pause(self, seconds: float) -> None:
        """Wait so long, but a second at least, and up to a tenth longer, so that not all gateways ask at one moment."""


class TargetSource(Protocol):
    """Finds the engines of one model. It lives as long as its settings do not change, over reloads."""

    async def run(self, listener: TargetListener) -> None:
        """Look, and tell, until cancelled.

        Raise whatever goes wrong, with one line for people and no secret in it: the list that was told last stays, and
        this is called again after a pause that grows with each failure in a row.
        """


@runtime_checkable
class ImmediateSource(Protocol):
    """A source that can tell without waiting, as a file can: so that faults are found before a gateway starts."""

    def now(self) -> Found:
        """The list now; asked when there is none yet.

        Raises:
            ConfigError: it cannot be had, and the configuration must not be served.
        """


class SourceCondition(StrEnum):
    """How a source is. Starting: it has not told anything yet, which is normal. Failing: what it told last still holds."""

    STARTING = "starting"
    WELL = "well"
    FAILING = "failing"


class SourceState(Struct, frozen=True, kw_only=True):
    """One source of targets as it is now.

    Attributes:
        source: its name in `targets`, and its place there.
        reason: why it is failing, one line for people.
        targets: how many it told last.
        changes: how often its list has become another one.
        failures: how often it failed.
        age_seconds: since it was last well; None while it is starting.
    """

    model: str
    source: str
    condition: SourceCondition
    reason: str
    targets: int
    changes: int
    failures: int
    age_seconds: float | None
