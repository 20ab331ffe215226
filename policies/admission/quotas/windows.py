"""Calendar windows: when the hour, day or month began in a time zone, and when the next one does."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

HOUR_SECONDS = 3_600

Period = Literal["hour", "day", "month"]


class Window(Struct, frozen=True):
    """From `start` until before `end`, in seconds since 1970."""

    start: int
    end: int


class Calendar(Struct, frozen=True):
    """Hours, days or months of one time zone. A day on which clocks are changed has 23 or 25 hours, and is one day."""

    period: Period
    zone: ZoneInfo

    def window(self, now: float) -> Window:
        """The window that a moment is in."""
        local = dt.datetime.fromtimestamp(now, self.zone)
        if self.period == "hour":
            # By the offset of this moment: an hour that comes twice is two hours.
            offset = local.utcoffset() or dt.timedelta()
            start = int(now) - int(now + offset.total_seconds()) % HOUR_SECONDS
            return Window(start, start + HOUR_SECONDS)
        if self.period == "day":
            tomorrow = local.date() + dt.timedelta(days=1)
            return Window(self._midnight(local.date()), self._midnight(tomorrow))
        first = local.date().replace(day=1)
        next_first = (first + dt.timedelta(days=31)).replace(day=1)
        return Window(self._midnight(first), self._midnight(next_first))

    def _midnight(self, day: dt.date) -> int:
        # Where clocks skip midnight this is the moment at which they do; where it comes twice, the first of the two.
        return _seconds(dt.datetime.combine(day, dt.time(), self.zone))


def _seconds(moment: dt.datetime) -> int:
    return int(moment.timestamp())
