"""Drops replicas outside the hours in which they exist: engines on machines that are borrowed at night, or shut down then."""

from __future__ import annotations

import datetime as dt
import time
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway import BuildContext, Call, Extension, Ranking, Replica, RoutingPolicy, hookimpl
from policies.routing.replica_names import check_names

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]

MINUTE_SECONDS = 60


class Window(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hours of some replicas, by the name of a replica or of a backend.

    Attributes:
        days: on which the hours begin; every day by default.
        from_: local time, `HH:MM`; in the file it is `from`.
        to: local time, not included; before `from` it is that of the next day, and equal to it a whole day long.
        time_zone: an IANA name.
    """

    replicas: Annotated[list[str], Meta(min_length=1)]
    days: list[Day] = field(default_factory=lambda: list(DAYS))
    from_: Clock = field(default="00:00", name="from")
    to: Clock = "24:00"
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse a zone that nobody knows."""
        try:
            zoneinfo.ZoneInfo(self.time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"no time zone is called {self.time_zone[:64]!r}") from None

    def is_open(self, at: dt.datetime) -> bool:
        """Whether a moment, which knows its zone, lies in it. Hours go by the clock on the wall, in summer too."""
        local = at.astimezone(zoneinfo.ZoneInfo(self.time_zone))
        now = local.hour * 60 + local.minute
        today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
        begin, end = _minutes(self.from_), _minutes(self.to)
        if begin < end:
            return today in self.days and begin <= now < end
        return (today in self.days and now >= begin) or (yesterday in self.days and now < end)


class TimeWindowSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hours of replicas; one that stands in several windows exists in each of them, and one that stands in none always."""

    windows: Annotated[list[Window], Meta(min_length=1)]


class TimeWindow:
    """The policy. It looks at the clock once a minute.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, settings: TimeWindowSettings, clock: Callable[[], float] = time.time) -> None:
        self._windows = settings.windows
        self._clock = clock
        self._minute = -1
        self._bound = {name for window in settings.windows for name in window.replicas}
        self._open: set[str] = set()

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:  # noqa: ARG002 - any call alike
        """Keep those whose hours these are."""
        minute = int(self._clock() // MINUTE_SECONDS)
        if minute != self._minute:
            self._look(minute)
        bound, is_open = self._bound, self._open
        left = [
            each
            for each in replicas
            if each.name in is_open or each.backend in is_open or not (each.name in bound or each.backend in bound)
        ]
        return replicas if len(left) == len(replicas) else Ranking(left, reason="hours")

    def _look(self, minute: int) -> None:
        now = dt.datetime.fromtimestamp(minute * MINUTE_SECONDS, dt.UTC)
        self._open = {name for window in self._windows if window.is_open(now) for name in window.replicas}
        self._minute = minute


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _build(settings: TimeWindowSettings, context: BuildContext) -> RoutingPolicy:
    check_names([name for window in settings.windows for name in window.replicas], context, "windows")
    return TimeWindow(settings)


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("time_window", TimeWindowSettings, _build)]
