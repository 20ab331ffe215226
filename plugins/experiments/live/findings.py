"""Judges an experiment: a verdict for each endpoint of each arm against the first, and the arms' own figures; may be watched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from plugins.experiments.compare.endpoints import ENDPOINTS
from plugins.experiments.compare.latency import endpoint_name
from plugins.experiments.live.settings import Guardrail, GuardrailKind
from plugins.experiments.live.tallies import ArmTally
from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.estimate import Estimate, Interval
from plugins.experiments.statistics.latency_histogram import LatencyHistogram
from plugins.experiments.statistics.quantiles import QuantilePlan, compare_quantiles, quantile_interval
from plugins.experiments.statistics.rate_sequences import rate_difference_sequence, rate_sequence
from plugins.experiments.statistics.verdict import Verdict, judge

RATES = (
    "success_rate", "schema_accuracy", "tool_call_rate", "nonempty_rate", "clean_rate", "unmended_rate", "json_rate",
)  # fmt: skip
TIMES: Mapping[str, tuple[float, ...]] = {
    "ttft": (0.5, 0.95, 0.99),
    "time_per_output_token": (0.5, 0.95),
    "worst_gap": (0.5, 0.95),
    "total": (0.5, 0.95, 0.99),
}
KNOWN = (*RATES, *(endpoint_name(clock, quantile) for clock, quantiles in TIMES.items() for quantile in quantiles))
PLANNED_CALLS = 1_000
GUARD_ALPHA = 0.01
# Mean shares of slots in use that are farther apart than this are other loads.
LOAD_DIFFERENCE = 0.1


class ArmView(Struct, frozen=True, kw_only=True):
    """One arm's own figures.

    Attributes:
        state: `in` or `rolled_back`.
        rates: with intervals that may be watched; `times`: p50, p95 and p99 in seconds.
    """

    name: str
    state: str
    weight: float
    calls: int
    fell_back: int
    retried: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_nanos: int
    load: float | None
    errors: dict[str, int]
    finishes: dict[str, int]
    rates: dict[str, Interval]
    times: dict[str, dict[str, float | None]]


def verdicts(a: ArmTally, b: ArmTally, margins: Mapping[str, float]) -> list[Verdict]:
    """B against A, endpoint by endpoint."""
    found = []
    warning = load_warning(a, b)
    for name in KNOWN:
        endpoint = ENDPOINTS[name]
        if name in margins:
            endpoint = structs.replace(endpoint, margin=margins[name])
        estimate = _estimate(name, a, b, 1 - endpoint.confidence_wanted)
        warnings = (warning,) if warning and endpoint.kind == "latency" else ()
        found.append(judge(endpoint, estimate, warnings=warnings))
    return found


def _estimate(name: str, a: ArmTally, b: ArmTally, alpha: float) -> Estimate | NotEnough:
    try:
        if name in RATES:
            first, second = a.rates.get(name), b.rates.get(name)
            if first is None or second is None:
                return NotEnough("an arm without calls that tell")
            return rate_difference_sequence(first.rate(), second.rate(), alpha)
        clock, _, percent = name.rpartition("_p")
        plan = QuantilePlan(quantile=int(percent) / 100, alpha=alpha, planned_calls=PLANNED_CALLS)
        return compare_quantiles(a.times[clock], b.times[clock], plan)
    except NotEnough as reason:
        return reason


def load_warning(a: ArmTally, b: ArmTally) -> str:
    """Latencies at different load compare loads, not engines; empty where they were alike."""
    if not a.loads[0] or not b.loads[0]:
        return ""
    first, second = (arm.loads[1] / arm.loads[0] for arm in (a, b))
    if abs(first - second) <= LOAD_DIFFERENCE:
        return ""
    return (
        f"arms saw different load ({first:.0%} and {second:.0%} of their slots in use): their latencies do not compare"
    )


def view(name: str, state: str, weight: float, tally: ArmTally) -> ArmView:
    """One arm's figures."""
    count, total, _ = tally.loads
    return ArmView(
        name=name,
        state=state,
        weight=weight,
        calls=tally.calls,
        fell_back=tally.fell_back,
        retried=tally.retried,
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        cached_tokens=tally.cached_tokens,
        cost_nanos=tally.cost_nanos,
        load=total / count if count else None,
        errors=dict(tally.errors),
        finishes=dict(tally.finishes),
        rates={name: rate_sequence(sums.rate()) for name, sums in tally.rates.items()},
        times={clock: quantiles(histogram) for clock, histogram in tally.times.items() if histogram.calls},
    )


def quantiles(histogram: LatencyHistogram) -> dict[str, float | None]:
    """p50, p95 and p99 in seconds; None for one that is among the failures."""
    found = {f"p{quantile * 100:.0f}": histogram.value(quantile) for quantile in (0.5, 0.95, 0.99)}
    return {name: None if math.isinf(value) else value for name, value in found.items()}


def broken(guardrail: Guardrail, tally: ArmTally) -> str | None:
    """What an arm has done against a guardrail, in words; None if nothing that is sure."""
    if tally.calls < guardrail.minimum_calls:
        return None
    try:
        if guardrail.watch is GuardrailKind.TTFT:
            plan = QuantilePlan(quantile=guardrail.quantile, alpha=GUARD_ALPHA, planned_calls=PLANNED_CALLS)
            time = quantile_interval(tally.times["ttft"], plan)
            if time.lower > guardrail.bound:
                return f"ttft p{guardrail.quantile * 100:.0f} is above {time.lower:.3g} s, the bound is {guardrail.bound:g} s"
            return None
        wanted = "success_rate" if guardrail.watch is GuardrailKind.ERROR_RATIO else "schema_accuracy"
        sums = tally.rates.get(wanted)
        if sums is None:
            return None
        rate = rate_sequence(sums.rate(), GUARD_ALPHA)
    except NotEnough:
        return None
    if guardrail.watch is GuardrailKind.ERROR_RATIO and 1 - rate.upper > guardrail.bound:
        return f"the error ratio is {1 - rate.value:.1%}, above {1 - rate.upper:.1%} for sure; the bound is {guardrail.bound:.1%}"
    if guardrail.watch is GuardrailKind.SCHEMA_VALIDITY and rate.upper < guardrail.bound:
        return (
            f"schema validity is {rate.value:.1%}, below {rate.upper:.1%} for sure; the bound is {guardrail.bound:.1%}"
        )
    return None


def first_broken(guardrails: Sequence[Guardrail], tally: ArmTally) -> tuple[Guardrail, str] | None:
    """The first guardrail that an arm has broken."""
    for guardrail in guardrails:
        reason = broken(guardrail, tally)
        if reason is not None:
            return guardrail, reason
    return None
