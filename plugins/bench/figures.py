"""Turns windows into figures, and two endpoints' windows into ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from plugins.bench.running import Results
from plugins.bench.samples import Spread, Window

# Of more callers that bring less than that much more, the endpoint has no use.
WORTH_GROWTH = 0.10
QUANTILES = (0.5, 0.9, 0.99)

Figure = Callable[[Window], float]


def median(name: str) -> Figure:
    """The median of one of a window's quantities."""

    def figure(window: Window) -> float:
        spread: Spread = getattr(window, name)
        return spread.quantiles(0.5)[0]

    return figure


# What two endpoints are compared by: what it is called, and whether more of it is better.
COMPARED: tuple[tuple[str, bool, Figure], ...] = (
    ("tokens/s", True, lambda window: window.tokens_per_second),
    ("calls/s", True, lambda window: window.calls_per_second),
    ("TTFT p50", False, median("first_token")),
    ("ITL p50", False, median("gap")),
    ("TPOT p50", False, median("per_token")),
    ("total p50", False, median("total")),
)


class Ratio(Struct, frozen=True):
    """One figure of B by that of A, round by round.

    Attributes:
        low, high: the lowest and the highest round.
        better_rounds: in which B was better; `rounds` is how many have both.
    """

    name: str
    median: float
    low: float
    high: float
    better_rounds: int
    rounds: int

    @property
    def says(self) -> str:
        """Who is better, if all rounds say so."""
        if self.better_rounds == self.rounds:
            return "B is better in every round"
        if not self.better_rounds:
            return "A is better in every round"
        return f"B is better in {self.better_rounds} of {self.rounds} rounds: no difference shown"


def ratios(results: Results, at_once: int) -> list[Ratio]:
    """B by A at one level; figures that one of them lacks are left out."""
    pairs = list(zip(results.of("A", at_once), results.of("B", at_once), strict=False))
    found: list[Ratio] = []
    for name, more_is_better, figure in COMPARED:
        rounds = [(figure(a), figure(b)) for a, b in pairs]
        by_round = [b / a for a, b in rounds if a > 0 and b > 0 and math.isfinite(a + b)]
        if by_round:
            better = sum((ratio > 1) == more_is_better and ratio != 1 for ratio in by_round)
            middle = statistics.median(by_round)
            found.append(Ratio(name, middle, min(by_round), max(by_round), better, len(by_round)))
    return found


def saturated_from(results: Results, label: str) -> int | None:
    """The first level that brings hardly more tokens a second than the one below it; None if each is worth its while."""
    before: float | None = None
    for at_once in results.plan.levels:
        rate = results.pooled(label, at_once).tokens_per_second
        if before and rate < before * (1 + WORTH_GROWTH):
            return at_once
        before = rate or before
    return None


def as_json(results: Results) -> dict[str, Any]:
    """All of it, for programs: times in seconds; what is not known is null."""
    plan = results.plan
    return {
        "model": plan.model,
        "endpoints": {endpoint.label: endpoint.url for endpoint in plan.endpoints},
        "stream": plan.stream,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "warm_up_seconds": plan.warm_up_seconds,
        "prompt_tokens": plan.prompt_tokens,
        "shared_prefix": plan.shared_prefix,
        "max_tokens": plan.max_tokens,
        "seed": plan.seed,
        "levels": [
            {
                "endpoint": endpoint.label,
                "concurrency": at_once,
                **_figures(results.pooled(endpoint.label, at_once)),
                "by_round": [_figures(window) for window in results.of(endpoint.label, at_once)],
            }
            for endpoint in plan.endpoints
            for at_once in plan.levels
            if results.of(endpoint.label, at_once)
        ],
    }


def _figures(window: Window) -> dict[str, Any]:
    times = {
        "ttft_seconds": window.first_token,
        "itl_seconds": window.gap,
        "tpot_seconds": window.per_token,
        "total_seconds": window.total,
    }
    return {
        "seconds": window.seconds,
        "answered": window.answered,
        "errors": dict(window.errors),
        "calls_per_second": window.calls_per_second,
        "output_tokens_per_second": window.tokens_per_second,
        "prompt_tokens": window.prompt_tokens,
        "output_tokens": window.output_tokens,
        "without_usage": window.untold,
        "client_cpu_cores": window.cpu_cores,
        "client_lateness_seconds": _spread(window.lateness),
        **{name: _spread(spread) for name, spread in times.items()},
    }


def _spread(spread: Spread) -> dict[str, float] | None:
    if not spread.count:
        return None
    p50, p90, p99 = spread.quantiles(*QUANTILES)
    return {"count": spread.count, "mean": spread.mean, "p50": p50, "p90": p90, "p99": p99}
