"""What an experiment has seen of each arm: counts and histograms, never calls; saved as they are.

Loaded only where there is an experiment: it needs numpy and jsonschema.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from gateway import Ending, Operation
from gateway.dataplane import sse
from plugins.experiments.compare.checks import Checker
from plugins.experiments.compare.parts import Parts
from plugins.experiments.compare.results import Answer, Checks
from plugins.experiments.live.watching import Seen
from plugins.experiments.statistics.independent import Rate
from plugins.experiments.statistics.latency_histogram import LatencyHistogram

# Units whose calls are known to belong together; one that comes back after so many others counts as another.
MOST_UNITS = 20_000
# With fewer units their spread says nothing, and their calls count as if they were all alike.
FEW_UNITS = 10

CLOCKS = ("ttft", "time_per_output_token", "worst_gap", "total", "queue")


UnitCounts = dict[str, tuple[int, int]]
"""Of one unit: calls and yeses by endpoint."""


class Sums(Struct):
    """A yes-or-no outcome: calls, those of them that say yes, and the sums over units that tell how alike a unit's calls are.

    Attributes:
        squares_n, squares_yes, products: over units, of calls squared, of yeses squared, and of both.
    """

    calls: int = 0
    yes: int = 0
    units: int = 0
    squares_n: int = 0
    squares_yes: int = 0
    products: int = 0

    def add(self, before: tuple[int, int], says: bool) -> tuple[int, int]:
        """One call of a unit that had so many calls and yeses before; what it has now."""
        calls, yes = before
        step = int(says)
        self.units += not calls
        self.calls += 1
        self.yes += step
        self.squares_n += 2 * calls + 1
        self.squares_yes += 2 * yes * step + step
        self.products += calls * step + yes + step
        return calls + 1, yes + step

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Sums(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def rate(self) -> Rate:
        """With the design effect of its units (Rao & Scott, Biometrics 48, 1992).

        Raises:
            NotEnough: no call has told.
        """
        if self.units == self.calls:
            return Rate(successes=self.yes, calls=self.calls)
        rate = self.yes / self.calls
        # What it is if all calls of a unit say the same.
        effect = self.squares_n / self.calls
        if self.units >= FEW_UNITS and 0 < self.yes < self.calls:
            spread = self.squares_yes - 2 * rate * self.products + rate**2 * self.squares_n
            effect = spread * self.units / (self.units - 1) / self.calls / (rate * (1 - rate))
        return Rate(successes=self.yes, calls=self.calls, conversations=self.units, design_effect=max(effect, 1.0))


class ArmTally(Struct, kw_only=True):
    """One arm's.

    Attributes:
        units: that were dealt to it.
        fell_back: calls that another arm's replicas served, or nobody.
        rates: by endpoint.
        times: by clock; calls that failed are slower than any.
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
    times: dict[str, LatencyHistogram] = field(default_factory=lambda: {clock: LatencyHistogram() for clock in CLOCKS})
    loads: tuple[int, float, float] = (0, 0.0, 0.0)


class Tallies:
    """All arms of one experiment."""

    def __init__(self, arms: list[ArmTally]) -> None:
        self.arms = arms
        self._checker = Checker()
        self._units: OrderedDict[tuple[int, bytes], UnitCounts] = OrderedDict()

    def take(self, seen: Seen) -> None:
        """Count one call; those that were not drawn by chance count nowhere."""
        if not seen.randomised:
            return
        arm, outcome = self.arms[seen.arm], seen.outcome
        unit = self._unit(arm, seen)
        if outcome.ending is Ending.DISCONNECTED:
            # The client's doing, and not the arm's; it is no sample of whole answers either.
            _count(arm.finishes, "client_left")
            return
        attempts = outcome.attempts
        served = outcome.error_code is None and bool(attempts) and attempts[-1].replica in seen.replicas
        arm.calls += 1
        arm.fell_back += not served
        arm.retried += len(attempts) > 1
        count, total, squares = arm.loads
        arm.loads = count + 1, total + seen.load, squares + seen.load**2
        failed = next((attempt.error_code for attempt in attempts if attempt.error_code), outcome.error_code)
        if not served:
            _count(arm.errors, failed or "no_replica_available")
        if outcome.error_code is None and served:
            _count(arm.finishes, outcome.finish_reason or "none")
        self._tell_times(arm, seen, served=served)
        self._tell_tokens(arm, seen)
        _tell_rates(arm, unit, self._answers(seen, served=served))

    def _tell_times(self, arm: ArmTally, seen: Seen, *, served: bool) -> None:
        outcome = seen.outcome
        admitted = outcome.admitted_seconds
        if admitted is not None:
            arm.times["queue"].add(admitted)
        if not served or outcome.first_byte_seconds is None:
            for clock in ("ttft", "total"):
                arm.times[clock].add_timed_out()
            return
        if seen.call.stream:
            arm.times["ttft"].add(max(outcome.first_byte_seconds - (admitted or 0.0), 0.0))
            tokens = outcome.usage.completion_tokens if outcome.usage is not None else None
            if tokens is not None and tokens > 1:
                writing = outcome.total_seconds - outcome.first_byte_seconds
                arm.times["time_per_output_token"].add(max(writing / (tokens - 1), 0.0))
            if seen.worst_gap_seconds is not None:
                arm.times["worst_gap"].add(seen.worst_gap_seconds)
        arm.times["total"].add(max(outcome.total_seconds - (admitted or 0.0), 0.0))

    def _tell_tokens(self, arm: ArmTally, seen: Seen) -> None:
        usage = seen.outcome.usage
        if usage is not None:
            arm.prompt_tokens += usage.prompt_tokens or 0
            arm.completion_tokens += usage.completion_tokens or 0
            arm.cached_tokens += usage.cached_tokens or 0
        arm.cost_nanos += seen.outcome.cost_nanos or 0

    def _answers(self, seen: Seen, *, served: bool) -> dict[str, bool | None]:
        """What a call says to each question; None where it says nothing."""
        found: dict[str, bool | None] = {"success_rate": served}
        if not served:
            return found
        found["unmended_rate"] = not seen.outcome.transforms
        if seen.call.operation is not Operation.CHAT or seen.answer is None:
            return found
        answer = read(seen.answer, stream=seen.call.stream)
        if answer.error:
            return found
        checks = self._check(seen, answer)
        found |= {
            "schema_accuracy": checks.schema_valid,
            "nonempty_rate": not checks.empty,
            "clean_rate": not checks.marker,
            "json_rate": checks.json_valid,
        }
        if seen.call.has_tools:
            found["tool_call_rate"] = answer.finish_reason == "tool_calls"
            found["declared_rate"] = None if not answer.tool_calls else not checks.undeclared
        return found

    def _check(self, seen: Seen, answer: Answer) -> Checks:
        fields = seen.call.fields
        body: dict[str, Any] = {
            name: msgspec.json.decode(fields[name]) for name in ("tools", "response_format") if name in fields
        }
        try:
            return self._checker.check(body, answer)
        except (KeyError, TypeError, AttributeError):  # tools of a shape that the engine should have refused
            return Checks()

    def _unit(self, arm: ArmTally, seen: Seen) -> UnitCounts:
        key = (seen.arm, seen.unit)
        known = self._units.get(key)
        if known is not None:
            self._units.move_to_end(key)
            return known
        arm.units += 1
        if len(self._units) >= MOST_UNITS:
            self._units.popitem(last=False)
        found: UnitCounts = {}
        self._units[key] = found
        return found


def _tell_rates(arm: ArmTally, unit: UnitCounts, answers: Mapping[str, bool | None]) -> None:
    for name, says in answers.items():
        if says is not None:
            sums = arm.rates.setdefault(name, Sums())
            unit[name] = sums.add(unit.get(name, (0, 0)), says)


def read(content: bytes, *, stream: bool) -> Answer:
    """An answer of a chat as the client got it."""
    parts = Parts()
    if stream:
        for event in sse.split(content):
            payload = sse.data(event)
            if payload is not None:
                parts.event(payload)
    else:
        parts.body(content)
    return parts.whole()


def _count(counts: dict[str, int], name: str) -> None:
    # Engines choose some of these words: they must not be without end.
    counts[name if name in counts or len(counts) < 64 else "others"] = counts.get(name, 0) + 1  # noqa: PLR2004
