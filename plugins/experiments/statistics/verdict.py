"""Judges an endpoint: from its interval and a margin set beforehand to one word that a platform team can defend.

Where the interval lies decides, as in the CONSORT statement on non-inferiority (Piaggio et al., JAMA 308, 2012): within the margin,
beyond it, on the good side of its bad end, or across it. Each claim is one-sided; an interval of confidence 1 - 2 alpha keeps each
at alpha, and `faster`, `slower` and `cheaper`, which may go either way, want 1 - alpha: see `confidence_wanted`.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec
from msgspec import Struct

from plugins.experiments.statistics.checking import InvalidSample, NotEnough, check_count, check_level, check_margin
from plugins.experiments.statistics.estimate import Estimate, Scale
from plugins.experiments.statistics.sample_sizes import more_calls
from plugins.experiments.statistics.wording import Terms, describe

Kind = Literal["quality", "latency", "cost"]
Word = Literal["equivalent", "not inferior", "inferior", "faster", "slower", "cheaper", "undecided"]
NoiseWord = Literal["within the margin", "beyond the margin", "unclear", "not measured"]
_ROUNDING = 1e-9


class Endpoint(Struct, frozen=True, kw_only=True):
    """What is judged, and by what; set before the data are seen.

    Attributes:
        name: as in reports, e.g. `schema_accuracy`.
        kind: of `quality` more is better; of `latency` and `cost` less is.
        margin: the largest effect that does not matter, above 0: a difference in the endpoint's unit, or on the scale `ratio` the
            relative one: 0.05 is from 1/1.05 to 1.05.
        scale: of the effect.
        alpha: chance of a wrong claim, of each kind.
        unit: of a difference, for words: `s`, `USD`; empty for rates.
    """

    name: str
    kind: Kind
    margin: float
    scale: Scale = "difference"
    alpha: float = 0.05
    unit: str = ""

    def __post_init__(self) -> None:
        """Refuse margins and levels that are none."""
        rate = self.scale == "difference" and self.kind == "quality" and not self.unit
        check_margin(self.margin, 1.0 if rate else math.inf)
        if not self.alpha < 0.5:  # noqa: PLR2004 (1 - 2 alpha must be a confidence)
            raise InvalidSample(f"alpha must lie between 0 and 0.5, not {self.alpha}")
        check_level(self.alpha)

    @property
    def confidence_wanted(self) -> float:
        """Of the interval that this endpoint is judged by, at least."""
        return 1 - (2 * self.alpha if self.kind == "quality" else self.alpha)


class Noise(Struct, frozen=True, kw_only=True):
    """What the null arm found: the same backend against itself, measured as the effect is.

    Attributes:
        effect, lower, upper, calls: as in `Estimate`.
        against_margin: whether the engine's own noise is within the margin: its interval is, its effect is not, or neither shown.
    """

    effect: float | None = None
    lower: float | None = None
    upper: float | None = None
    calls: int = 0
    against_margin: NoiseWord = "not measured"


class Verdict(Struct, frozen=True, kw_only=True):
    """One endpoint's verdict; `line` is it as one line of JSON, in which an infinite end is null.

    Attributes:
        endpoint, kind, margin, scale: what was judged.
        verdict: the word.
        effect, lower, upper, confidence, calls, units, method, anytime: as in `Estimate`; None without an estimate.
        more_calls: about how many more are needed, where undecided; None also where no sensible number would do.
        more_calls_for_equivalence: the same towards `equivalent`, for a verdict that is not there yet but may be.
        noise: the null arm's.
        says: the word with what belongs to it, e.g. `undecided: needs about 1200 more calls`.
        text: a sentence or more, for people.
        warnings: what a reader must know besides, e.g. of unmatched load.
    """

    endpoint: str
    kind: Kind
    verdict: Word
    margin: float
    scale: Scale
    effect: float | None = None
    lower: float | None = None
    upper: float | None = None
    confidence: float | None = None
    calls: int = 0
    units: int = 0
    method: str = ""
    anytime: bool = False
    more_calls: int | None = None
    more_calls_for_equivalence: int | None = None
    noise: Noise = Noise()
    says: str
    text: str
    warnings: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """One line of JSON."""
        return msgspec.json.encode(self).decode()


def judge(
    endpoint: Endpoint,
    estimate: Estimate | NotEnough,
    null: Estimate | NotEnough | None = None,
    warnings: tuple[str, ...] = (),
) -> Verdict:
    """Judge an endpoint; `null` is the estimate of A against A', by the same method.

    A `NotEnough` that a method raised is passed on as it is, and makes the endpoint undecided.
    """
    for each in (estimate, null):
        if isinstance(each, Estimate):
            _check(endpoint, each)
    noise = _noise(endpoint, null)
    if isinstance(estimate, NotEnough):
        return _without_estimate(endpoint, estimate, noise, warnings)
    word = _word(endpoint, estimate)
    more = _nearest(endpoint, estimate) if word == "undecided" else None
    beyond = None
    if word in ("undecided", "not inferior"):
        gap = _high(endpoint) - abs(_good(endpoint, estimate)[0])
        beyond = more_calls(estimate, gap)
    terms = Terms(kind=endpoint.kind, margin=endpoint.margin, unit=endpoint.unit, noise=noise.against_margin)
    says, text = describe(word, estimate, terms, more)
    return Verdict(
        endpoint=endpoint.name,
        kind=endpoint.kind,
        verdict=word,
        margin=endpoint.margin,
        scale=endpoint.scale,
        effect=estimate.effect,
        lower=estimate.lower,
        upper=estimate.upper,
        confidence=estimate.confidence,
        calls=estimate.calls,
        units=estimate.units,
        method=estimate.method,
        anytime=estimate.anytime,
        more_calls=more,
        more_calls_for_equivalence=beyond,
        noise=noise,
        says=says,
        text=f"{endpoint.name}: {text}",
        warnings=warnings,
    )


def _check(endpoint: Endpoint, estimate: Estimate) -> None:
    if estimate.scale != endpoint.scale:
        raise InvalidSample(f"{endpoint.name} is judged by a {endpoint.scale}, not by a {estimate.scale}")
    if estimate.confidence < endpoint.confidence_wanted - _ROUNDING:
        raise InvalidSample(
            f"{endpoint.name} wants an interval of confidence {endpoint.confidence_wanted:g}, not {estimate.confidence:g}"
        )


def _without_estimate(endpoint: Endpoint, reason: NotEnough, noise: Noise, warnings: tuple[str, ...]) -> Verdict:
    return Verdict(
        endpoint=endpoint.name,
        kind=endpoint.kind,
        verdict="undecided",
        margin=endpoint.margin,
        scale=endpoint.scale,
        noise=noise,
        says=f"undecided: {reason}",
        text=f"{endpoint.name}: undecided: {reason}.",
        warnings=warnings,
    )


def _good(endpoint: Endpoint, estimate: Estimate) -> tuple[float, float, float]:
    """Effect and interval so that more is better and 0 is none; ratios by their logs."""
    values = (estimate.effect, estimate.lower, estimate.upper)
    if endpoint.scale == "ratio":
        values = tuple(math.log(each) if each > 0 else -math.inf for each in values)  # type: ignore[assignment]
    if endpoint.kind == "quality":
        return values
    return -values[0], -values[2], -values[1]


def _high(endpoint: Endpoint) -> float:
    """The margin's upper end, with more being better; its lower end is the same below 0."""
    return math.log1p(endpoint.margin) if endpoint.scale == "ratio" else endpoint.margin


def _word(endpoint: Endpoint, estimate: Estimate) -> Word:
    _, low, high = _good(endpoint, estimate)
    margin = _high(endpoint)
    if -margin < low and high < margin:
        return "equivalent"
    if high < -margin and endpoint.kind != "latency":
        return "inferior"
    if endpoint.kind == "latency" and (low > 0 or high < 0):
        return "faster" if low > 0 else "slower"
    if endpoint.kind == "cost" and low > 0:
        return "cheaper"
    return "not inferior" if low > -margin else "undecided"


def _nearest(endpoint: Endpoint, estimate: Estimate) -> int | None:
    """Calls until the first verdict that the effect, staying where it is, leads to."""
    effect = _good(endpoint, estimate)[0]
    margin = _high(endpoint)
    gaps = [effect + margin, -margin - effect]
    if endpoint.kind != "quality":
        gaps.append(abs(effect) if endpoint.kind == "latency" else effect)
    found = [more for gap in gaps if gap > 0 and (more := more_calls(estimate, gap)) is not None]
    return min(found, default=None)


def _noise(endpoint: Endpoint, null: Estimate | NotEnough | None) -> Noise:
    if not isinstance(null, Estimate):
        return Noise()
    effect, low, high = _good(endpoint, null)
    margin = _high(endpoint)
    against: NoiseWord = "unclear"
    if abs(effect) > margin:
        against = "beyond the margin"
    elif -margin < low and high < margin:
        against = "within the margin"
    return Noise(effect=null.effect, lower=null.lower, upper=null.upper, calls=null.calls, against_margin=against)


class Conformance(Struct, frozen=True, kw_only=True):
    """A deterministic check's verdict: no statistics. `undecided` only where nothing was checked."""

    endpoint: str
    verdict: Literal["pass", "fail", "undecided"]
    checked: int
    failed: int
    text: str

    @property
    def line(self) -> str:
        """One line of JSON."""
        return msgspec.json.encode(self).decode()


def conformance(endpoint: str, checked: int, failed: int) -> Conformance:
    """Pass if something was checked and nothing failed."""
    check_count(checked, "checked")
    if check_count(failed, "failed") > checked:
        raise InvalidSample(f"{failed} failed of {checked} checked")
    verdict: Literal["pass", "fail", "undecided"] = "fail" if failed else "pass" if checked else "undecided"
    text = f"{failed} of {checked} failed" if checked else "nothing was checked"
    return Conformance(
        endpoint=endpoint, verdict=verdict, checked=checked, failed=failed, text=f"{endpoint}: {verdict}: {text}"
    )
