"""Latencies at one mix of prompt lengths, cache hits and load, so that arms whose calls differ in these compare all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, structs

from plugins.experiments.compare.endpoints import ENDPOINTS
from plugins.experiments.compare.latency import endpoint_name
from plugins.experiments.live.watching import Seen
from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.estimate import Estimate
from plugins.experiments.statistics.latency_histogram import LatencyHistogram
from plugins.experiments.statistics.quantiles import QuantilePlan
from plugins.experiments.statistics.stratified_quantiles import FEWEST_IN_STRATUM, compare_stratified
from plugins.experiments.statistics.verdict import Verdict, judge

QUANTILES: Final = {"ttft": (0.5, 0.95), "total": (0.5, 0.95)}
_LENGTHS = ((1_000, "under 1k tokens"), (8_000, "1k to 8k tokens"), (32_000, "8k to 32k tokens"))
_LONGEST = "over 32k tokens"
_BYTES_A_TOKEN = 4
_HALF = 0.5

Strata = dict[str, dict[str, LatencyHistogram]]
"""By stratum, and in it by clock."""


class Mix(Struct, frozen=True, kw_only=True):
    """Two arms at one mix of strata.

    Attributes:
        weights: of each stratum that has calls enough in both arms, its share of all calls of these.
        left_out: calls of other strata.
    """

    weights: dict[str, float]
    left_out: int
    verdicts: list[Verdict]


def stratum_of(seen: Seen) -> str:
    """Where a call belongs. What no engine has told is taken from the request: its length in bytes, and nothing cached."""
    usage = seen.outcome.usage
    tokens = (usage.prompt_tokens if usage is not None else None) or len(seen.call.body) // _BYTES_A_TOKEN
    cached = (usage.cached_tokens if usage is not None else None) or 0
    length = next((name for most, name in _LENGTHS if tokens < most), _LONGEST)
    return f"{length}, {'cached' if cached >= _HALF * tokens else 'not cached'}, {'busy' if seen.load >= _HALF else 'free'}"


def at_one_mix(a: Strata, b: Strata, margins: Mapping[str, float], planned_calls: int) -> Mix:
    """B against A as if both had had the calls that they had together."""
    calls = {name: (_calls(a, name), _calls(b, name)) for name in sorted({*a, *b})}
    kept = {name: sum(each) for name, each in calls.items() if min(each) >= FEWEST_IN_STRATUM}
    whole = sum(kept.values())
    weights = {name: count / whole for name, count in kept.items()}
    found = []
    for clock, quantiles in QUANTILES.items():
        for quantile in quantiles:
            endpoint = ENDPOINTS[endpoint_name(clock, quantile)]
            if endpoint.name in margins:
                endpoint = structs.replace(endpoint, margin=margins[endpoint.name])
            plan = QuantilePlan(quantile=quantile, alpha=1 - endpoint.confidence_wanted, planned_calls=planned_calls)
            found.append(judge(endpoint, _estimate(a, b, clock, weights, plan)))
    left_out = sum(sum(each) for each in calls.values()) - whole
    return Mix(weights=weights, left_out=left_out, verdicts=found)


def _calls(arm: Strata, name: str) -> int:
    return arm[name]["total"].calls if name in arm else 0


def _estimate(
    a: Strata, b: Strata, clock: str, weights: Mapping[str, float], plan: QuantilePlan
) -> Estimate | NotEnough:
    # Plain answers have no time to first token: their strata may be empty by that clock.
    told = {name: each for name, each in weights.items() if _enough(a[name][clock]) and _enough(b[name][clock])}
    if not told:
        return NotEnough(f"no stratum has {FEWEST_IN_STRATUM} calls in both arms")
    try:
        arms = [{name: arm[name][clock] for name in told} for arm in (a, b)]
        return compare_stratified(arms[0], arms[1], told, plan)
    except NotEnough as reason:
        return reason


def _enough(histogram: LatencyHistogram) -> bool:
    return histogram.calls >= FEWEST_IN_STRATUM
