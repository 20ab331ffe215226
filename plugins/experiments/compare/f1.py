"""F1 of tool calls as K2-Vendor-Verifier has it: does an arm call a tool where the reference does? And the difference of two.

TP, FP, FN count calls by `finish_reason == "tool_calls"`. The difference of two arms' F1 is of two ratios over the same
conversations: linearised (Cochran, Sampling Techniques, 1977, chapter 11), with Student's t. Where nothing varies, the interval is
at least what n conversations without a disagreement leave open ("rule of three": ln(1/tail)/n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from plugins.experiments.compare.observed import Observed, Seen
from plugins.experiments.statistics.checking import Floats, NotEnough
from plugins.experiments.statistics.clusters import ratio_of_sums
from plugins.experiments.statistics.distributions import t_quantile
from plugins.experiments.statistics.estimate import Estimate, Interval

METHOD = "difference of F1, linearised, clustered by conversation"


class Counts(Struct, frozen=True):
    """By conversation, in one order for all arms: 2 TP, and 2 TP + FP + FN; shape (conversations,) each."""

    above: Floats
    below: Floats

    @property
    def value(self) -> float:
        """F1."""
        whole = float(self.below.sum())
        return float(self.above.sum()) / whole if whole else math.nan


Triggers = Sequence[tuple[str, bool, bool]]
"""Of each call: its conversation, whether the reference calls a tool, whether the arm does."""


def counts(triggers: Triggers, order: Sequence[str]) -> Counts:
    """Count an arm's calls by conversation."""
    places = {conversation: place for place, conversation in enumerate(order)}
    above, below = np.zeros(len(places)), np.zeros(len(places))
    for conversation, wanted, got in triggers:
        place = places[conversation]
        above[place] += 2 * (wanted and got)
        below[place] += wanted + got
    return Counts(above, below)


def difference(first: Counts, second: Counts, calls: int, confidence: float) -> Estimate:
    """The second's F1 less the first's."""
    told = int(np.sum((first.below > 0) | (second.below > 0)))
    if told < 2 or not first.below.sum() or not second.below.sum():  # noqa: PLR2004 (a spread needs two)
        raise NotEnough("fewer than two conversations with a tool call")
    parts = [(each.above - each.value * each.below) / each.below.sum() for each in (first, second)]
    count = len(first.below)
    error = math.sqrt(count / (count - 1) * float(np.sum((parts[1] - parts[0]) ** 2)))
    tail = (1 - confidence) / 2
    half = max(t_quantile(1 - tail, told - 1) * error, math.log(1 / tail) / told)
    effect = second.value - first.value
    return Estimate(
        effect=effect,
        lower=max(effect - half, -1.0),
        upper=min(effect + half, 1.0),
        confidence=confidence,
        calls=calls,
        units=told,
        method=METHOD,
    )


def against_reference(seen: Sequence[Seen]) -> list[tuple[str, bool, bool]]:
    """Answers to calls whose reference is known."""
    return [
        (each.conversation, each.reference == "tool_calls", each.triggered)
        for each in seen
        if each.reference is not None
    ]


def against_a(observed: Observed, *, null: bool) -> list[tuple[str, bool, bool]]:
    """B's answers against A's, or A's second ones against its first."""
    pairs = observed.null_pairs() if null else observed.pairs(0)
    return [(each.a.conversation, each.a.triggered, each.b.triggered) for each in pairs]


def compare_f1(observed: Observed, confidence: float) -> tuple[Estimate, Estimate | None]:
    """The effect and the null arm's.

    With a reference: each arm's F1 against it. Without: B's against A, less A's against itself, so that an engine's own noise
    is no fault of B's; A agrees with itself wholly where all calls are greedy and there is no null arm.

    Raises:
        NotEnough: there is nothing to go by.
    """
    trusted = {arm: against_reference(observed.of(arm, 0)) for arm in ("a", "b")}
    if trusted["a"]:
        again = against_reference(observed.of("a", 1))
        effect = _between(trusted["a"], trusted["b"], confidence)
        return effect, _between(trusted["a"], again, confidence) if again else None
    own = against_a(observed, null=True)
    if not own:
        if not all(each.greedy for each in observed.of("a")):
            raise NotEnough("sampled answers want a reference in the data, or --null")
        own = [(conversation, wanted, wanted) for conversation, wanted, _ in against_a(observed, null=False)]
    return _between(own, against_a(observed, null=False), confidence), None


def _between(first: Triggers, second: Triggers, confidence: float) -> Estimate:
    order = list(dict.fromkeys(each[0] for each in (*first, *second)))
    return difference(counts(first, order), counts(second, order), len(second), confidence)


def f1_interval(observed: Observed, arm: str) -> Interval | None:
    """One arm's F1 against the reference of the data; without one, B's against A. None where there is nothing to count."""
    triggers = against_reference(observed.of("a" if arm == "a" else "b"))
    if not triggers and arm == "b":
        triggers = against_a(observed, null=False)
    order = list(dict.fromkeys(each[0] for each in triggers))
    found = counts(triggers, order)
    try:
        return ratio_of_sums(list(found.above), list(found.below))
    except NotEnough:
        return None
