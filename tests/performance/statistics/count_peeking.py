"""Sequences from counts alone, as live experiments keep them, looked at again and again: shadow pairs and arms of a split."""

from __future__ import annotations

import numpy as np

from plugins.experiments.live.sums import PairSums, Sums
from plugins.experiments.statistics.independent import Rate
from plugins.experiments.statistics.paired import PairedTable
from plugins.experiments.statistics.paired_sequences import leaves_out, paired_difference_sequence
from plugins.experiments.statistics.rate_sequences import rate_difference_sequence
from tests.performance.statistics.findings import Finding

ALPHA = 0.05
MARGIN = 0.01
DISCORDANCE = 0.02
PAIRS = 4300  # about twice the reference's number for this discordance and margin
STEP = 100


def pairs(runs: int, seed: int) -> list[Finding]:
    """Pairs with a true difference of 0, and of the margin: how often is it ever left out? And how soon are equal arms known?"""
    rng = np.random.default_rng(seed)
    found = []
    for effect in (0.0, -MARGIN):
        chances = [(DISCORDANCE - effect) / 2, (DISCORDANCE + effect) / 2]
        counts = rng.multinomial(STEP, [*chances, 1 - DISCORDANCE], (runs, PAIRS // STEP)).cumsum(axis=1)
        missed = sum(any(leaves_out(_table(*look), effect, ALPHA) for look in run) for run in counts.tolist())
        what = (
            f"paired sequence from counts leaves out {effect:+.0%}"
            if effect
            else "paired sequence from counts leaves out 0"
        )
        found.append(
            Finding(what, f"{DISCORDANCE:.0%} discordant, a look at each {STEP} of {PAIRS} pairs", runs, missed, ALPHA)
        )
    for discordance in (0.0, 0.005, DISCORDANCE):
        last = rng.multinomial(PAIRS, [discordance / 2, discordance / 2, 1 - discordance], runs).tolist()
        ends = [paired_difference_sequence(_table(*each), 2 * ALPHA) for each in last]
        shown = sum(each.lower > -MARGIN and each.upper < MARGIN for each in ends)
        setting = f"{discordance:.1%} discordant, margin {MARGIN:.0%}, {PAIRS} pairs"
        found.append(
            Finding("paired sequence from counts: equal arms shown equivalent by then", setting, runs, shown, None)
        )
    return found


def _table(only_a: int, only_b: int, alike: int) -> PairedTable:
    return PairedTable(both=alike, only_a=only_a, only_b=only_b, neither=0)


def conversations(runs: int, seed: int, units: int = 400, step: int = 40) -> list[Finding]:
    """Conversations of 1 to 9 calls that hang together; arms that are equal: counts divided by the design effect."""
    rng = np.random.default_rng(seed)
    missed_pairs = missed_split = 0
    for _ in range(runs):
        paired, arms = PairSums(), (Sums(), Sums())
        wrong_pairs = wrong_split = False
        sizes = rng.integers(1, 10, (units, 3))
        chances = rng.beta(3.6, 0.4, (units, 3))
        for unit in range(units):
            _tell_pairs(rng, paired, int(sizes[unit, 0]), float(chances[unit, 0]))
            for arm in (0, 1):
                before = (0, 0)
                for says in rng.random(sizes[unit, 1 + arm]) < chances[unit, 1 + arm]:
                    before = arms[arm].add(before, int(says))
            if unit % step == step - 1:
                wrong_pairs |= leaves_out(paired.table(), 0.0, ALPHA)
                wrong_split |= _differ(arms[0].rate(), arms[1].rate())
        missed_pairs += wrong_pairs
        missed_split += wrong_split
    setting = f"{units} conversations of 1 to 9 calls that hang together, a look at each {step}"
    return [
        Finding("paired sequence from counts leaves out 0", setting, runs, missed_pairs, ALPHA),
        Finding("split sequence from counts leaves out 0", setting, runs, missed_split, ALPHA),
    ]


def _tell_pairs(rng: np.random.Generator, paired: PairSums, calls: int, chance: float) -> None:
    """A conversation in which one arm, drawn for it, fails where the other need not."""
    before, better = (0, 0), rng.random() < 0.5
    for a, b in rng.random((calls, 2)) < (chance, 1 - (1 - chance) / 2):
        before = paired.tell(before, *((bool(a), bool(b)) if better else (bool(b), bool(a))))


def _differ(a: Rate, b: Rate) -> bool:
    found = rate_difference_sequence(a, b, ALPHA)
    return not found.lower <= 0 <= found.upper
