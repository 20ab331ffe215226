"""A verdict in words: what was found, how sure, against what margin, and what the engine's own noise makes of it."""

from __future__ import annotations

import math

from msgspec import Struct

from plugins.experiments.statistics.estimate import Estimate

_COMPARED = {"quality": "B against A", "latency": "B's latency against A's", "cost": "B's cost against A's"}


class Terms(Struct, frozen=True, kw_only=True):
    """What an effect was judged by: kind, margin and unit of the endpoint, and how the null arm's noise lies to the margin."""

    kind: str
    margin: float
    unit: str
    noise: str


def describe(word: str, estimate: Estimate, terms: Terms, more: int | None) -> tuple[str, str]:
    """The word with what belongs to it, and a sentence or more for people."""
    unit, margin = terms.unit, terms.margin
    says = word
    if word == "undecided":
        says = (
            f"undecided: needs about {more} more calls"
            if more is not None
            else "undecided: needs more calls than can be said"
        )

    def number(value: float) -> str:
        return _number(value, estimate.scale, unit)

    allowed = (
        f"{margin:.3g} {unit}" if unit else f"{margin * 100:.3g} %" if estimate.scale == "ratio" else _points(margin)
    )
    text = (
        f"{says}. {_COMPARED[terms.kind]}: {number(estimate.effect)} ({number(estimate.lower)} to {number(estimate.upper)}, "
        f"{estimate.confidence:.0%} confidence{', at every look' if estimate.anytime else ', one look'}), "
        f"margin {allowed}, {estimate.calls} calls, {estimate.method}."
    )
    none = estimate.no_effect
    if word in ("equivalent", "not inferior", "undecided") and not estimate.lower <= none <= estimate.upper:
        text += " The arms do differ: the interval leaves out no effect."
    if terms.noise == "beyond the margin":
        text += " The margin is below the engine's own noise: A against itself differs by more."
    elif terms.noise == "unclear":
        text += " The null arm has not yet shown that the engine's own noise is within the margin."
    return says, text


def _number(value: float, scale: str, unit: str) -> str:
    if math.isinf(value):
        return "unbounded" if value > 0 else "-unbounded"
    if scale == "ratio":
        return f"{(value - 1) * 100:+.3g} %"
    return f"{value:+.3g} {unit}" if unit else f"{value * 100:+.3g} pp"


def _points(value: float) -> str:
    return f"{value * 100:.3g} pp"
