"""Verdicts: every place an interval can lie in, in words and JSON, beside the null arm's noise; none from what is no interval."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.experiments.statistics.checking import InvalidSample, NotEnough
from plugins.experiments.statistics.estimate import Estimate, Scale
from plugins.experiments.statistics.paired import PairedTable, paired_difference, paired_table
from plugins.experiments.statistics.verdict import Endpoint, Kind, Verdict, conformance, judge

QUALITY = Endpoint(name="schema_accuracy", kind="quality", margin=0.01)
LATENCY = Endpoint(name="ttft_p95", kind="latency", margin=0.05, scale="ratio")
COST = Endpoint(name="cost", kind="cost", margin=0.002, unit="USD")


def estimate(lower: float, upper: float, scale: Scale = "difference", confidence: float = 0.95) -> Estimate:
    middle = (lower + upper) / 2 if math.isfinite(lower + upper) else lower if math.isfinite(lower) else 1.0
    return Estimate(
        effect=middle,
        lower=lower,
        upper=upper,
        confidence=confidence,
        calls=500,
        units=500,
        method="m",
        scale=scale,
        anytime=True,
    )


@pytest.mark.parametrize(
    ("endpoint", "lower", "upper", "word"),
    [
        (QUALITY, -0.009, 0.009, "equivalent"),
        (QUALITY, -0.009, -0.001, "equivalent"),
        (QUALITY, -0.009, 0.02, "not inferior"),
        (QUALITY, 0.02, 0.03, "not inferior"),
        (QUALITY, -0.03, -0.011, "inferior"),
        (QUALITY, -0.03, -0.009, "undecided"),
        (QUALITY, -0.03, 0.03, "undecided"),
        (QUALITY, -0.01, 0.0, "undecided"),
        (LATENCY, 0.97, 1.04, "equivalent"),
        (LATENCY, 1.01, 1.04, "equivalent"),
        (LATENCY, 0.7, 0.9, "faster"),
        (LATENCY, 0.9, 0.99, "faster"),
        (LATENCY, 1.02, 1.3, "slower"),
        (LATENCY, 1.3, math.inf, "slower"),
        (LATENCY, 0.0, 0.5, "faster"),
        (LATENCY, 0.8, 1.03, "not inferior"),
        (LATENCY, 0.9, 1.2, "undecided"),
        (LATENCY, 0.0, math.inf, "undecided"),
        (COST, -0.001, 0.001, "equivalent"),
        (COST, -0.01, -0.001, "cheaper"),
        (COST, -0.01, 0.001, "not inferior"),
        (COST, 0.003, 0.01, "inferior"),
        (COST, 0.001, 0.01, "undecided"),
    ],
)
def test_where_the_interval_lies_decides(endpoint: Endpoint, lower: float, upper: float, word: str) -> None:
    found = judge(endpoint, estimate(lower, upper, endpoint.scale))
    assert found.verdict == word
    assert found.says.startswith(word)
    assert found.text.startswith(f"{endpoint.name}: {word}")


@given(
    st.sampled_from(["quality", "latency", "cost"]),
    st.sampled_from(["difference", "ratio"]),
    st.floats(0.001, 5),
    st.floats(0, 3),
    st.floats(0.001, 0.9),
    st.floats(0, 1),
)
def test_no_claim_is_made_against_a_truth_within_the_interval(
    kind: Kind, scale: Scale, middle: float, width: float, margin: float, place: float
) -> None:
    """Whatever lies in the interval could be true: a claim must hold of all of it."""
    shift = 0.0 if scale == "ratio" else -2.5
    lower = max(middle + shift - width, 1e-4 if scale == "ratio" else -math.inf)
    found = judge(
        Endpoint(name="x", kind=kind, margin=margin, scale=scale), estimate(lower, middle + shift + width, scale)
    )
    truth = lower + place * (middle + shift + width - lower)
    better = math.log(truth) if scale == "ratio" else truth
    better = better if kind == "quality" else -better
    high = math.log1p(margin) if scale == "ratio" else margin
    holds = {
        "equivalent": abs(better) < high + 1e-9,
        "not inferior": better > -high - 1e-9,
        "inferior": better < -high + 1e-9,
        "faster": better > -1e-9,
        "cheaper": better > -1e-9,
        "slower": better < 1e-9,
        "undecided": True,
    }
    assert holds[found.verdict]
    assert (found.verdict in ("faster", "slower")) <= (kind == "latency")
    assert (found.verdict == "cheaper") <= (kind == "cost")


def test_undecided_says_how_many_more() -> None:
    found = judge(QUALITY, paired_difference(PairedTable(both=480, only_a=6, only_b=6, neither=8)))
    assert found.more_calls is not None
    assert found.says == f"undecided: needs about {found.more_calls} more calls"
    assert 100 < found.more_calls < 3000
    assert found.more_calls_for_equivalence is not None
    assert found.more_calls_for_equivalence >= found.more_calls
    assert judge(LATENCY, estimate(0.0, math.inf, "ratio")).says == "undecided: needs more calls than can be said"
    decided = judge(QUALITY, estimate(-0.009, 0.009))
    assert (decided.more_calls, decided.more_calls_for_equivalence) == (None, None)


def test_one_line_of_json_says_it_all() -> None:
    found = judge(LATENCY, estimate(1.3, math.inf, "ratio"), estimate(0.98, 1.02, "ratio"), warnings=("load unclear",))
    assert "\n" not in found.line
    read = json.loads(found.line)
    assert (read["endpoint"], read["verdict"], read["margin"], read["method"], read["calls"]) == (
        "ttft_p95",
        "slower",
        0.05,
        "m",
        500,
    )
    assert (read["lower"], read["upper"], read["confidence"], read["anytime"]) == (1.3, None, 0.95, True)
    assert read["noise"]["against_margin"] == "within the margin"
    assert read["warnings"] == ["load unclear"]


def test_words_give_the_units() -> None:
    assert (
        "-0.5 pp (-0.9 pp to -0.1 pp, 95% confidence, at every look), margin 1 pp"
        in judge(QUALITY, estimate(-0.009, -0.001)).text
    )
    assert "+30 % (+20 % to +40 %" in judge(LATENCY, estimate(1.2, 1.4, "ratio")).text
    assert "margin 0.002 USD" in judge(COST, estimate(-0.01, -0.001)).text
    assert "The arms do differ" in judge(QUALITY, estimate(-0.009, -0.001)).text
    assert "unbounded" in judge(LATENCY, estimate(1.2, math.inf, "ratio")).text


def noise(null: Estimate | NotEnough | None) -> Verdict:
    return judge(QUALITY, estimate(-0.03, -0.011), null)


def test_the_null_arm_s_noise_is_said_beside_the_effect() -> None:
    quiet, loud, unclear = (noise(estimate(*ends)) for ends in ((-0.005, 0.006), (-0.05, -0.02), (-0.015, 0.02)))
    assert quiet.noise.against_margin == "within the margin"
    assert "noise" not in quiet.text
    assert loud.noise.against_margin == "beyond the margin"
    assert "The margin is below the engine's own noise" in loud.text
    assert unclear.noise.against_margin == "unclear"
    assert "not yet shown" in unclear.text
    assert noise(None).noise.against_margin == noise(NotEnough("no pairs")).noise.against_margin == "not measured"
    assert (loud.noise.effect, loud.noise.calls) == (-0.035, 500)


def test_an_arm_without_calls_is_undecided() -> None:
    with pytest.raises(NotEnough) as raised:
        paired_table([], [])
    found = judge(QUALITY, raised.value)
    assert found.verdict == "undecided"
    assert found.says == "undecided: no outcomes of A"
    assert json.loads(found.line)["lower"] is None


def test_intervals_that_promise_too_little_or_something_else_are_refused() -> None:
    judge(QUALITY, estimate(-0.1, 0.1, confidence=0.9))
    with pytest.raises(InvalidSample, match=r"confidence 0\.95"):
        judge(LATENCY, estimate(0.9, 1.1, "ratio", confidence=0.9))
    with pytest.raises(InvalidSample, match=r"confidence 0\.9,"):
        judge(QUALITY, estimate(-0.1, 0.1, confidence=0.8))
    with pytest.raises(InvalidSample, match="judged by a ratio"):
        judge(LATENCY, estimate(-0.1, 0.1))
    with pytest.raises(InvalidSample, match="confidence"):
        judge(QUALITY, estimate(-0.1, 0.1), estimate(-0.1, 0.1, confidence=0.5))
    for lower, upper in ((0.2, 0.1), (math.nan, 0.1)):
        with pytest.raises(InvalidSample, match="not an interval"):
            estimate(lower, upper)


def test_endpoints_that_are_none_are_refused() -> None:
    for margin in (0, -0.01, 1.0, math.nan):
        with pytest.raises(InvalidSample, match="margin"):
            Endpoint(name="x", kind="quality", margin=margin)
    for alpha in (0, 0.5, 1, math.nan):
        with pytest.raises(InvalidSample, match="alpha"):
            Endpoint(name="x", kind="quality", margin=0.1, alpha=alpha)


def test_conformance_passes_or_fails() -> None:
    assert conformance("tool_ids", 200, 0).verdict == "pass"
    assert conformance("tool_ids", 200, 1).verdict == "fail"
    assert conformance("tool_ids", 0, 0).verdict == "undecided"
    assert json.loads(conformance("tool_ids", 200, 1).line)["text"] == "tool_ids: fail: 1 of 200 failed"
    for checked, failed in ((1, 2), (-1, 0), (1, -1)):
        with pytest.raises(InvalidSample):
            conformance("x", checked, failed)
