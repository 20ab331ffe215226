"""What an experiment has seen of each arm: counts and histograms, never calls; saved as they are.

Loaded only where there is an experiment: it needs numpy and jsonschema.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from msgspec import Struct, field

from plugins.experiments.live.reading import Reading
from plugins.experiments.live.strata import Strata, stratum_of
from plugins.experiments.live.sums import Sums
from plugins.experiments.live.watching import Seen
from plugins.experiments.statistics.latency_histogram import LatencyHistogram

# Units whose calls are known to belong together; one that comes back after so many others counts as another.
MOST_UNITS = 20_000
MOST_WORDS = 64

CLOCKS = ("ttft", "time_per_output_token", "worst_gap", "total", "queue")


def new_times() -> dict[str, LatencyHistogram]:
    """Of no call yet, by clock."""
    return {clock: LatencyHistogram() for clock in CLOCKS}


UnitCounts = dict[str, tuple[int, int]]
"""Of one unit: calls and the total of their values, by endpoint."""


def merge_times(times: dict[str, LatencyHistogram], more: dict[str, LatencyHistogram]) -> None:
    """Add another's calls."""
    for clock, histogram in more.items():
        times[clock].merge(histogram)


class ArmTally(Struct, kw_only=True):
    """One arm's.

    Attributes:
        units: that were dealt to it.
        fell_back: calls that another arm's replicas served, or nobody.
        rates: by endpoint.
        times: by clock; calls that failed are slower than any.
        strata: times by stratum, see `strata`.
        loads: calls, sum and sum of squares of the share of slots in use when they came.
    """

    units: int = 0
    calls: int = 0
    fell_back: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_nanos: int = 0
    errors: dict[str, int] = {}
    finishes: dict[str, int] = {}
    rates: dict[str, Sums] = {}
    times: dict[str, LatencyHistogram] = field(default_factory=new_times)
    strata: Strata = {}
    loads: tuple[int, float, float] = (0, 0.0, 0.0)


class Units:
    """What the units that came lately have told, by whatever tells them apart; those that came longest ago are forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, bytes], UnitCounts] = OrderedDict()

    def of(self, key: tuple[int, bytes]) -> tuple[UnitCounts, bool]:
        """One unit's, and whether it is new."""
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known, False
        if len(self._known) >= MOST_UNITS:
            self._known.popitem(last=False)
        found: UnitCounts = {}
        self._known[key] = found
        return found, True


class Tallies:
    """All arms of one experiment."""

    def __init__(self, arms: list[ArmTally]) -> None:
        self.arms = arms
        self._units = Units()

    def take(self, read: Reading) -> None:
        """Count one call; those that were not drawn by chance count nowhere."""
        seen = read.seen
        if not seen.counts:
            return
        arm, outcome, served = self.arms[seen.arm], seen.outcome, read.served
        unit, is_new = self._units.of((seen.arm, seen.unit))
        arm.units += is_new
        if read.left_out:
            count_word(arm.finishes, "client_left")
            return
        attempts = outcome.attempts
        arm.calls += 1
        arm.fell_back += not served
        arm.retried += len(attempts) > 1
        count, total, squares = arm.loads
        arm.loads = count + 1, total + seen.load, squares + seen.load**2
        failed = next((attempt.error_code for attempt in attempts if attempt.error_code), outcome.error_code)
        if not served:
            count_word(arm.errors, failed or "no_replica_available")
        if outcome.error_code is None and served:
            count_word(arm.finishes, outcome.finish_reason or "none")
        tell_times(arm.times, seen, served=served)
        tell_times(arm.strata.setdefault(stratum_of(seen), new_times()), seen, served=served)
        self._tell_tokens(arm, seen)
        tell_rates(arm.rates, unit, read.says)

    def _tell_tokens(self, arm: ArmTally, seen: Seen) -> None:
        usage = seen.outcome.usage
        if usage is not None:
            arm.prompt_tokens += usage.prompt_tokens or 0
            arm.completion_tokens += usage.completion_tokens or 0
            arm.cached_tokens += usage.cached_tokens or 0
        arm.cost_nanos += seen.outcome.cost_nanos or 0


def tell_rates(rates: dict[str, Sums], unit: UnitCounts, says: Mapping[str, bool | None]) -> None:
    """Note a unit's yes or no by endpoint."""
    for name, word in says.items():
        if word is not None:
            unit[name] = rates.setdefault(name, Sums()).add(unit.get(name, (0, 0)), int(word))


def tell_times(times: dict[str, LatencyHistogram], seen: Seen, *, served: bool) -> None:
    """Note how long one took; one that failed is slower than any."""
    outcome = seen.outcome
    admitted = outcome.admitted_seconds
    if admitted is not None:
        times["queue"].add(admitted)
    if not served or outcome.first_byte_seconds is None:
        for clock in ("ttft", "total"):
            times[clock].add_timed_out()
        return
    if seen.call.stream:
        times["ttft"].add(max(outcome.first_byte_seconds - (admitted or 0.0), 0.0))
        tokens = outcome.usage.completion_tokens if outcome.usage is not None else None
        if tokens is not None and tokens > 1:
            writing = outcome.total_seconds - outcome.first_byte_seconds
            times["time_per_output_token"].add(max(writing / (tokens - 1), 0.0))
        if seen.worst_gap_seconds is not None:
            times["worst_gap"].add(seen.worst_gap_seconds)
    times["total"].add(max(outcome.total_seconds - (admitted or 0.0), 0.0))


def count_word(counts: dict[str, int], name: str) -> None:
    """One more; engines choose some of these words, so they must not be without end."""
    name = name if name in counts or len(counts) < MOST_WORDS else "others"
    counts[name] = counts.get(name, 0) + 1
