"""Tests for one look: the chance of a wrong claim at the margin, and power at the reference's sample sizes."""

from __future__ import annotations

import numpy as np

from plugins.experiments.statistics.independent import Rate, rate_difference
from plugins.experiments.statistics.paired import PairedTable, margin_tests, paired_difference, paired_table
from tests.performance.statistics.findings import Finding

ALPHA = 0.05
# The reference's sizes for a power of 0.9 by the normal formula, and the exact power, summed over every table that can come out
# (a test does so for the first).
# Share of discordant pairs, margin, pairs, exact power.
PAIRED = ((0.02, 0.01, 2165, 0.8739), (0.10, 0.02, 2706, 0.8971), (0.20, 0.03, 2405, 0.8989))
# Rate, margin, calls an arm, exact power.
UNPAIRED = ((0.99, 0.01, 2143, 0.8750), (0.84, 0.03, 3233, 0.9024))


def paired_sizes(runs: int, seed: int) -> list[Finding]:
    """TOST on Tango's score: equal arms at the planned size, and arms that differ by just the margin."""
    rng = np.random.default_rng(seed)
    found = []
    for discordance, margin, pairs, power in PAIRED:
        equal = wrong = 0
        for effect in (0.0, -margin):
            better, worse = (discordance + effect) / 2, (discordance - effect) / 2
            for more, less, rest in rng.multinomial(pairs, [better, worse, 1 - discordance], runs):
                tests = margin_tests(PairedTable(both=int(rest), only_a=int(less), only_b=int(more), neither=0), margin)
                equal += effect == 0 and tests.equivalent < ALPHA
                wrong += effect != 0 and tests.not_inferior < ALPHA
        setting = f"{discordance:.0%} discordant, margin {margin:.0%}, {pairs} pairs, one look"
        found.append(
            Finding("paired TOST: power, equal arms (90 % by the formula)", setting, runs, equal, power, at_most=False)
        )
        found.append(Finding("paired: not inferior, though worse by the margin", setting, runs, wrong, ALPHA))
    return found


def unpaired_sizes(runs: int, seed: int) -> list[Finding]:
    """The same for two independent arms by the interval of Miettinen and Nurminen."""
    rng = np.random.default_rng(seed)
    found = []
    for chance, margin, calls, power in UNPAIRED:
        counts = {}
        for name, other in (("equal", chance), ("worse", chance - margin)):
            pairs = zip(rng.binomial(calls, chance, runs), rng.binomial(calls, other, runs), strict=True)
            answers = [
                rate_difference(Rate(successes=int(a), calls=calls), Rate(successes=int(b), calls=calls))
                for a, b in pairs
            ]
            counts[name] = sum(-margin < each.lower and (name == "worse" or each.upper < margin) for each in answers)
        setting = f"rate {chance:.0%}, margin {margin:.0%}, {calls} calls an arm, one look"
        found.append(
            Finding(
                "unpaired TOST: power, equal arms (90 % by the formula)",
                setting,
                runs,
                counts["equal"],
                power,
                at_most=False,
            )
        )
        found.append(
            Finding("unpaired: not inferior, though worse by the margin", setting, runs, counts["worse"], ALPHA)
        )
    return found


def conversations(runs: int, seed: int, count: int = 150) -> list[Finding]:
    """Pairs whose differences hang together within a conversation, B worse by the margin; few and rare ones among them."""
    rng = np.random.default_rng(seed)
    found = []
    for touched, margin in ((0.3, 0.05), (0.06, 0.015)):
        wrong, naive = 0, 0
        for _ in range(runs):
            sizes = rng.integers(1, 12, count)
            # An arm gets half of the calls of a conversation that touches it wrong; B is touched more often.
            worse = np.repeat(rng.random(count) < (touched / 2 + margin), sizes)
            better = np.repeat(rng.random(count) < (touched / 2 - margin), sizes)
            wrong_calls = rng.random(sizes.sum()) < 0.5
            a, b = 1.0 - (better & wrong_calls), 1.0 - (worse & wrong_calls)
            ids = np.repeat(np.arange(count), sizes).tolist()
            wrong += margin_tests(paired_table(a, b, ids), margin).not_inferior < ALPHA
            naive += paired_difference(paired_table(a, b)).lower > -margin
        setting = f"{count} conversations of 1 to 11 calls, {touched:.0%} touched, margin {margin:.1%}, one look"
        found.append(Finding("clustered: not inferior, though worse by the margin", setting, runs, wrong, ALPHA))
        found.append(Finding("the same with conversations left out of account", setting, runs, naive, None))
    return found
