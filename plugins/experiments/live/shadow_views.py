"""Judges what shadows have shown: a verdict for each endpoint of the same calls, with the first arm's own noise; may be watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from plugins.experiments.compare.endpoints import ENDPOINTS
from plugins.experiments.compare.likeness import LogProbabilities
from plugins.experiments.live.findings import RATES, quantiles
from plugins.experiments.live.shadow_tallies import Likeness, PairTally, ShadowTally
from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.estimate import Estimate, Interval
from plugins.experiments.statistics.paired_sequences import paired_difference_sequence
from plugins.experiments.statistics.rate_sequences import rate_sequence
from plugins.experiments.statistics.verdict import Verdict, judge

PAIRED = (*RATES, "greedy_agreement", "finish_agreement")


class LikenessView(Struct, frozen=True, kw_only=True):
    """How alike greedy answers are; `mean_same_characters` of those that part, see `Likeness` for the rest."""

    pairs: int
    alike: int
    by_part: list[int]
    mean_same_characters: float | None
    log_probabilities: LogProbabilities


class PairsView(Struct, frozen=True, kw_only=True):
    """B's answers beside A's; of the null arm, where both are the first arm, there is nothing to judge."""

    a: str
    b: str
    pairs: int
    prompts: int
    prompts_differ: int
    greedy: LikenessView
    verdicts: list[Verdict]


class CopiesView(Struct, frozen=True, kw_only=True):
    """What became of one arm's copies, how their answers were, and how long they took: p50, p95 and p99 in seconds."""

    name: str
    copies: dict[str, int]
    rates: dict[str, Interval]
    times: dict[str, dict[str, float | None]]


class ShadowView(Struct, frozen=True, kw_only=True):
    """All of it; see `ShadowTally`."""

    calls: int
    left: int
    arms: list[CopiesView]
    comparisons: list[PairsView]
    null: PairsView | None


def shadow_view(names: Sequence[str], tally: ShadowTally, margins: Mapping[str, float]) -> ShadowView:
    """Judge it all."""
    null = tally.null if tally.null.pairs else None
    return ShadowView(
        calls=tally.calls,
        left=tally.left,
        arms=[
            CopiesView(
                name=name,
                copies=dict(copies),
                rates={endpoint: rate_sequence(sums.rate()) for endpoint, sums in rates.items()},
                times={clock: quantiles(histogram) for clock, histogram in times.items() if histogram.calls},
            )
            for name, copies, rates, times in zip(names, tally.copies, tally.rates, tally.times, strict=True)
        ],
        comparisons=[
            _pairs(names[0], name, pairs, paired_verdicts(pairs, null, margins))
            for name, pairs in zip(names[1:], tally.pairs, strict=True)
        ],
        null=None if null is None else _pairs(names[0], names[0], null, []),
    )


def paired_verdicts(pairs: PairTally, null: PairTally | None, margins: Mapping[str, float]) -> list[Verdict]:
    """B against A, endpoint by endpoint."""
    found = []
    for name in PAIRED:
        endpoint = ENDPOINTS[name]
        if name in margins:
            endpoint = structs.replace(endpoint, margin=margins[name])
        alpha = 1 - endpoint.confidence_wanted
        noise = _estimate(null, name, alpha) if null is not None else None
        found.append(judge(endpoint, _estimate(pairs, name, alpha), noise))
    return found


def _estimate(pairs: PairTally, name: str, alpha: float) -> Estimate | NotEnough:
    sums = pairs.rates.get(name)
    if sums is None:
        return NotEnough("no pairs that tell")
    return paired_difference_sequence(sums.table(), alpha)


def _pairs(a: str, b: str, tally: PairTally, verdicts: list[Verdict]) -> PairsView:
    return PairsView(
        a=a,
        b=b,
        pairs=tally.pairs,
        prompts=tally.prompts,
        prompts_differ=tally.prompts_differ,
        greedy=_likeness(tally.greedy),
        verdicts=verdicts,
    )


def _likeness(greedy: Likeness) -> LikenessView:
    parted = greedy.pairs - greedy.alike
    return LikenessView(
        pairs=greedy.pairs,
        alike=greedy.alike,
        by_part=greedy.by_part,
        mean_same_characters=greedy.same_characters / parted if parted else None,
        log_probabilities=greedy.tokens.result(),
    )
