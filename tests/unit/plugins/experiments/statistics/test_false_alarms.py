"""Small runs of the simulations of `python -m tests.performance.statistics`: promises hold, and could be seen to fail."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from plugins.experiments.statistics.betting import BettingMean, betting_mean
from plugins.experiments.statistics.verdict import Endpoint, judge
from tests.performance.statistics import fixed_size, peeking, quantile_peeking
from tests.performance.statistics.findings import Finding

SEED = 7


def judged(findings: list[Finding]) -> None:
    broken = [f"{each.name} ({each.setting}): {each.share:.1%} of {each.runs}" for each in findings if not each.holds]
    assert findings
    assert broken == []


def test_watched_means_keep_their_promise_where_a_fixed_interval_does_not() -> None:
    findings = peeking.no_difference(400, SEED, steps=1200)
    judged(findings)
    naive = findings[-1]
    assert naive.share > 0.15
    assert not naive._replace(promised=peeking.ALPHA).holds


def test_watched_margins_and_live_splits_keep_their_promise() -> None:
    judged(peeking.at_the_margin(400, SEED, steps=800))
    judged(peeking.live_split(400, SEED, conversations=400))
    judged(peeking.endpoints(200, SEED, steps=200))


def test_watched_quantiles_and_ratios_keep_their_promise() -> None:
    judged(quantile_peeking.true_quantiles(400, SEED, calls=600))
    judged(quantile_peeking.sample_ratios(400, SEED, units=800))
    judged(quantile_peeking.slow_arms(10, SEED, calls=1200, every=400))


def test_one_look_has_the_planned_power_and_no_more_false_claims() -> None:
    judged(fixed_size.paired_sizes(400, SEED))
    judged(fixed_size.unpaired_sizes(100, SEED))
    judged(fixed_size.conversations(100, SEED))


def test_a_against_a_is_never_inferior_and_a_broken_arm_soon_is() -> None:
    """Watched every ten conversations, through to the verdict, as the README shows it."""
    endpoint = Endpoint(name="schema_accuracy", kind="quality", margin=0.01)
    rng = np.random.default_rng(SEED)

    def watched() -> BettingMean:
        return betting_mean(1 - endpoint.confidence_wanted, -1, 1, planned_units=4000, margins=(-0.01, 0.01))

    for _ in range(20):
        alike = watched()
        words = set()
        for part in np.split(rng.choice([-1.0, 0.0, 1.0], 300, p=[0.05, 0.9, 0.05]), 30):
            for value in part:
                alike.add(float(value))
            words.add(judge(endpoint, alike.estimate()).verdict)
        assert words <= {"undecided", "not inferior", "equivalent"}
    broken = watched()
    for value in rng.choice([-1.0, 0.0, 1.0], 600, p=[0.15, 0.83, 0.02]):
        broken.add(float(value))
    assert judge(endpoint, broken.estimate()).verdict == "inferior"


def test_a_finding_is_judged_by_the_exact_binomial() -> None:
    finding = Finding("", "", 1000, 50, 0.05)
    assert finding.holds
    assert not finding._replace(happened=75).holds
    assert finding._replace(happened=20).holds
    assert not finding._replace(happened=20, at_most=False).holds
    assert finding.interval == (pytest.approx(0.0373, abs=1e-4), pytest.approx(0.0654, abs=1e-4))


def test_the_plugin_s_package_costs_no_numpy() -> None:
    """Only who compares backends pays for it."""
    code = "import sys, plugins.experiments; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
