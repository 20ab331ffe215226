"""Estimates of the latency endpoints: quantiles of B over those of A; failures count as slower than any call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from plugins.experiments.compare.observed import Observed, Seen
from plugins.experiments.compare.quality import Found
from plugins.experiments.statistics.asymptotic import FIRST_UNIT
from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.clusters import by_conversation, design_effect
from plugins.experiments.statistics.estimate import Estimate
from plugins.experiments.statistics.latency_histogram import LatencyHistogram
from plugins.experiments.statistics.matched_load import LoadVerdict, load_seen, load_verdict
from plugins.experiments.statistics.quantiles import QuantilePlan, compare_quantiles

Clock = Callable[[Seen], float | None]


def ttft(each: Seen) -> float | None:
    """Until the first piece."""
    return each.ttft_seconds


def per_token(each: Seen) -> float | None:
    """After the first piece, a token."""
    return each.token_seconds


def worst_gap(each: Seen) -> float | None:
    """The longest wait between two pieces."""
    return each.worst_gap_seconds


def total(each: Seen) -> float | None:
    """All of it; of a failure nothing is known but that it was none."""
    return None if each.error else each.total_seconds


CLOCKS: dict[str, tuple[Clock, tuple[float, ...]]] = {
    "ttft": (ttft, (0.5, 0.95, 0.99)),
    "time_per_output_token": (per_token, (0.5, 0.95)),
    "worst_gap": (worst_gap, (0.5, 0.95)),
    "total": (total, (0.5, 0.95, 0.99)),
}


def endpoint_name(clock: str, quantile: float) -> str:
    """Such as `ttft_p95`."""
    return f"{clock}_p{quantile * 100:.0f}"


def histogram_of(seen: Sequence[Seen], clock: Clock) -> LatencyHistogram:
    """An arm's times. A failure that has none is slower than any call; an answer too short to have one is left out."""
    histogram = LatencyHistogram()
    for each in seen:
        seconds = clock(each)
        if seconds is not None:
            histogram.add(seconds)
        elif each.error:
            histogram.add_timed_out()
    return histogram


def estimate_quantile(observed: Observed, clock: Clock, quantile: float, alpha: float) -> Found:
    """B's quantile over A's, and the null arm's: A's second answers over its first."""
    null = observed.of("a", 1)
    effect = _compared(observed.of("a"), observed.of("b"), clock, quantile, alpha)
    return effect, _compared(observed.of("a", 0), null, clock, quantile, alpha) if null else None


def _compared(
    a: Sequence[Seen], b: Sequence[Seen], clock: Clock, quantile: float, alpha: float
) -> Estimate | NotEnough:
    first, second = histogram_of(a, clock), histogram_of(b, clock)
    if not first.calls or not second.calls:
        return NotEnough("an arm without calls that tell")
    plan = QuantilePlan(quantile=quantile, alpha=alpha, planned_calls=max(min(first.calls, second.calls), FIRST_UNIT))
    effects = _spread(a, clock, first.value(quantile)), _spread(b, clock, second.value(quantile))
    return compare_quantiles(first, second, plan, design_effects=effects)


def _spread(seen: Sequence[Seen], clock: Clock, at: float) -> float:
    """The design effect of asking a conversation's calls more than once, at a quantile."""
    kept = [(each, clock(each)) for each in seen if clock(each) is not None or each.error]
    names = [each.conversation for each, _ in kept]
    if len(set(names)) == len(names):
        return 1.0
    beyond = np.array([float(seconds is None or seconds > at) for _, seconds in kept])
    clusters = by_conversation(beyond, names)
    mixed = int(np.sum(clusters.totals > 0)), int(np.sum(clusters.totals < clusters.sizes))
    return design_effect(clusters, float(np.var(beyond)), min(mixed))


def load_of(observed: Observed) -> LoadVerdict:
    """Whether as many calls of its own arm were under way when a call began, in both arms."""
    loads = []
    for arm in (observed.of("a"), observed.of("b")):
        load = load_seen()
        for each in arm:
            load.add(each.under_way)
        loads.append(load)
    return load_verdict(loads[0], loads[1])
