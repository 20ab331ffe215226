"""Latencies in bounded memory: counts in bins whose edges grow by a fixed ratio, so that any quantile is known to a relative error.

DDSketch (Masson, Rim & Lee, VLDB 12, 2019). Ranks are exact; only values are rounded, to within `relative_error` (0.5 %). Intervals
of quantiles take a bin's outer edge, so that rounding widens and never breaks them. A day's latencies from 0.1 ms to an hour fill
1,740 bins at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from msgspec import Struct

from plugins.experiments.statistics.checking import Floats, InvalidSample, NotEnough, check_column

LEAST_SECONDS = 1e-4
# What takes longer is as bad as timed out.
MOST_SECONDS = 3600.0
RELATIVE_ERROR = 0.005
_GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GROWTH = math.log(_GROWTH)
LAST_BIN = math.ceil(math.log(MOST_SECONDS / LEAST_SECONDS) / _LOG_GROWTH)


class LatencyHistogram(Struct, kw_only=True, tag=True):
    """How many calls took how long; those that timed out (or failed) took longer than any.

    Attributes:
        counts: calls by bin; bin i ends at `LEAST_SECONDS` times the growth to the power of i.
        timed_out: calls that were given up: censored, counted as slow, never left out.
        time_out_seconds: after which they were; all that is known of them is that they took longer.
    """

    counts: dict[int, int] = {}
    timed_out: int = 0
    time_out_seconds: float = MOST_SECONDS

    def __post_init__(self) -> None:
        """Refuse a time-out that no bin reaches."""
        if not LEAST_SECONDS < self.time_out_seconds <= MOST_SECONDS:
            raise InvalidSample(
                f"a time-out lies between {LEAST_SECONDS} and {MOST_SECONDS:g} s, not {self.time_out_seconds}"
            )

    @property
    def calls(self) -> int:
        """All, those that timed out among them."""
        return sum(self.counts.values()) + self.timed_out

    def add(self, seconds: float) -> None:
        """One call that took so long, in seconds; what took less than `LEAST_SECONDS` counts as that."""
        if not 0 <= seconds < math.inf:
            raise InvalidSample(f"a latency is 0 seconds or more, not {seconds}; what never came is `add_timed_out`")
        if seconds > self.time_out_seconds:
            self.timed_out += 1
            return
        place = bin_of(seconds)
        self.counts[place] = self.counts.get(place, 0) + 1

    def add_timed_out(self) -> None:
        """One call that was given up, or failed."""
        self.timed_out += 1

    def merge(self, other: LatencyHistogram) -> None:
        """Take over another's calls, e.g. another process's; the shorter time-out is what is known of both's."""
        self.time_out_seconds = min(self.time_out_seconds, other.time_out_seconds)
        for place, count in other.counts.items():
            self.counts[place] = self.counts.get(place, 0) + count
        self.timed_out += other.timed_out

    def column(self) -> Floats:
        """Calls by bin, with nothing left out in between, and those that timed out last: shape (LAST_BIN + 2,)."""
        column = np.zeros(LAST_BIN + 2)
        for place, count in self.counts.items():
            column[place] = count
        column[-1] = self.timed_out
        return column

    def starts(self) -> Floats:
        """Where each bin begins, in seconds: shape (LAST_BIN + 2,)."""
        return np.concatenate([[LEAST_SECONDS], _ENDS[:-2], [self.time_out_seconds]])

    def ends(self) -> Floats:
        """Where each bin ends; that of time-outs does not: shape (LAST_BIN + 2,)."""
        return _ENDS

    def value(self, quantile: float) -> float:
        """The quantile of all calls, in seconds; infinite if it is among those that timed out."""
        return value_at(np.cumsum(self.column()), quantile)


_ENDS = np.concatenate([LEAST_SECONDS * np.exp(_LOG_GROWTH * np.arange(LAST_BIN + 1)), [np.inf]])


def bin_of(seconds: float) -> int:
    """The bin that a latency falls in."""
    return max(math.ceil(math.log(max(seconds, LEAST_SECONDS) / LEAST_SECONDS) / _LOG_GROWTH - 1e-9), 0)


def value_at(cumulative: Floats, quantile: float) -> float:
    """The quantile, in seconds, of shares or counts that are summed up over the bins: shape (LAST_BIN + 2,)."""
    if cumulative[-1] <= 0:
        raise NotEnough("no calls")
    place = int(np.searchsorted(cumulative, quantile * cumulative[-1] * (1 - 1e-12)))
    if place > LAST_BIN:
        return math.inf
    return float(2 * _ENDS[place] / (1 + _GROWTH)) if place else LEAST_SECONDS


def histogram(seconds: Iterable[float], timed_out: int = 0, time_out_seconds: float = MOST_SECONDS) -> LatencyHistogram:
    """All of these at once: shape (calls,); empty only if calls timed out."""
    state = LatencyHistogram(timed_out=timed_out, time_out_seconds=time_out_seconds)
    listed = list(seconds)
    if listed:
        for each in check_column(listed, 0, name="latencies"):
            state.add(float(each))
    return state
