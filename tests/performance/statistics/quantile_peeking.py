"""Quantile sequences, sample ratios and stratified quantiles, watched as calls come in."""

from __future__ import annotations

import math

import numpy as np

from plugins.experiments.statistics.latency_histogram import LatencyHistogram, histogram
from plugins.experiments.statistics.quantiles import QuantilePlan, compare_quantiles, log_capital
from plugins.experiments.statistics.sample_ratio import log_bayes_factor
from plugins.experiments.statistics.stratified_quantiles import compare_stratified
from tests.performance.statistics.findings import Finding

ALPHA = 0.05
QUANTILES = (0.5, 0.95, 0.99)


def true_quantiles(runs: int, seed: int, calls: int = 3000) -> list[Finding]:
    """How often does the interval ever leave out the true quantile of one arm, or the true pair of two?"""
    rng = np.random.default_rng(seed)
    found = []
    for quantile in QUANTILES:
        plan = QuantilePlan(quantile=quantile, alpha=ALPHA)
        below_a, below_b = np.zeros(runs), np.zeros(runs)
        one, two = np.zeros(runs, bool), np.zeros(runs, bool)
        for count in range(1, calls + 1):
            below_a += rng.random(runs) < quantile
            below_b += rng.random(runs) < quantile
            capital = log_capital(below_a, count, plan)
            one |= capital >= math.log(1 / ALPHA)
            two |= capital + log_capital(below_b, count, plan) >= math.log(1 / ALPHA)
        setting = f"p{100 * quantile:g}, a look at each of {calls} calls an arm"
        found.append(Finding("quantile sequence leaves out the truth", setting, runs, int(one.sum()), ALPHA))
        found.append(Finding("pair of quantiles leaves out the truth", setting, runs, int(two.sum()), ALPHA))
    return found


def slow_arms(runs: int, seed: int, calls: int = 4000, every: int = 100) -> list[Finding]:
    """Whole comparisons of log-normal latencies in two strata with time-outs, equal arms, a look every so many calls."""
    rng = np.random.default_rng(seed)
    false = {(kind, quantile): 0 for kind in ("plain", "stratified") for quantile in QUANTILES}
    for _ in range(runs):
        arms = [{name: LatencyHistogram(time_out_seconds=60) for name in ("short", "long")} for _ in "ab"]
        alarmed: set[tuple[str, float]] = set()
        for look in range(calls // every):
            for arm in arms:
                for name, middle in (("short", 0.0), ("long", 1.0)):
                    seconds = np.exp(rng.normal(middle, 0.8, every // 2))
                    lost = int(rng.binomial(every // 2, 0.002))
                    arm[name].merge(histogram(seconds[lost:], timed_out=lost, time_out_seconds=60))
            whole = [histogram([], time_out_seconds=60) for _ in arms]
            for all_of, arm in zip(whole, arms, strict=True):
                for part in arm.values():
                    all_of.merge(part)
            for quantile in QUANTILES:
                plan = QuantilePlan(quantile=quantile, alpha=ALPHA)
                answers = {"plain": compare_quantiles(*whole, plan)}
                if (look + 1) * every * (1 - quantile) >= 10:
                    answers["stratified"] = compare_stratified(*arms, {"short": 0.7, "long": 0.3}, plan)
                alarmed |= {(kind, quantile) for kind, each in answers.items() if not each.lower <= 1 <= each.upper}
        for key in alarmed:
            false[key] += 1
    return [
        Finding(
            f"{kind} ratio of p{100 * quantile:g} leaves out 1",
            f"{calls} calls an arm, a look each {every}",
            runs,
            n,
            ALPHA,
        )
        for (kind, quantile), n in false.items()
    ]


def sample_ratios(runs: int, seed: int, units: int = 5000) -> list[Finding]:
    """Units dealt out as wanted, and with an arm that gets too few: how often is a mismatch ever called?"""
    rng = np.random.default_rng(seed)
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    found = []
    for name, chances, promised in (("equal", (0.5, 0.8), ALPHA), ("lossy", (0.48, 0.8), None)):
        ever = np.zeros(runs, bool)
        counts = {arm: np.zeros(runs) for arm in shares}
        for _ in range(units):
            draw = rng.random(runs)
            counts["a"] += draw < chances[0]
            counts["b"] += (draw >= chances[0]) & (draw < chances[1])
            counts["c"] += draw >= chances[1]
            ever |= log_bayes_factor(shares, counts) >= math.log(1 / ALPHA)
        what = "though none" if name == "equal" else "where arm a gets 48 % for 50 %"
        found.append(
            Finding(
                f"sample ratio mismatch, {what}",
                f"3 arms, a look at each of {units} units",
                runs,
                int(ever.sum()),
                promised,
            )
        )
    return found
