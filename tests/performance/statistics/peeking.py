"""Sequences for means, watched at every step: one lane a run, through the same code as one sequence."""

from __future__ import annotations

import numpy as np

from plugins.experiments.statistics.asymptotic import AsymptoticMean
from plugins.experiments.statistics.betting import BettingMean, betting_mean
from plugins.experiments.statistics.e_values import e_bh
from plugins.experiments.statistics.empirical_bernstein import DriftingMean, plug_in_mean
from plugins.experiments.statistics.two_arms import ArmDifference, arm_difference
from tests.performance.statistics.findings import Finding

ALPHA = 0.05
DISCORDANCE = 0.02
MARGIN = 0.01
PAIRS = 2165  # the reference's number for this discordance and margin


def betting_lanes(alpha: float, means: list[float], runs: int, reach: float = 1.0) -> BettingMean:
    """A betting sequence for each run against the same few candidates, which are differences within ±reach."""
    state = betting_mean(alpha, -reach, reach)
    column = (np.array(means)[:, None] + reach) / (2 * reach)
    state.means = column  # type: ignore[assignment]  # lanes
    state.above, state.below = np.zeros((len(means), runs)), np.zeros((len(means), runs))
    return state


def paired(rng: np.random.Generator, runs: int, effect: float, discordance: float = DISCORDANCE) -> np.ndarray:
    """One difference, -1, 0 or 1, a run."""
    draw = rng.random(runs)
    better = (discordance + effect) / 2
    return np.where(draw < better, 1.0, np.where(draw < discordance, -1.0, 0.0))


def no_difference(runs: int, seed: int, steps: int = 3 * PAIRS) -> list[Finding]:
    """Paired rates that are equal: how often is 0 ever left out?"""
    rng = np.random.default_rng(seed)
    bet, plug = betting_lanes(ALPHA, [0.0], runs), plug_in_mean(ALPHA, -1, 1)
    drifting, asymptotic = DriftingMean(alpha=ALPHA, low=-1, high=1), AsymptoticMean(alpha=ALPHA, planned_units=PAIRS)
    missed = {name: np.zeros(runs, bool) for name in ("drifting", "asymptotic", "naive")}
    for _ in range(steps):
        value = paired(rng, runs, 0.0)
        for state in (bet, plug, drifting, asymptotic):
            state.add(value)
        missed["drifting"] |= abs(drifting.total / drifting.count - 0.5) > drifting.half_width
        missed["asymptotic"] |= abs(asymptotic.mean) > asymptotic.half_width
        error = np.sqrt(asymptotic.squares) / asymptotic.count
        missed["naive"] |= (asymptotic.count >= 100) & (error > 0) & (abs(asymptotic.mean) > 1.96 * error)
    setting = f"equal paired rates, {DISCORDANCE:.0%} discordant, {steps} looks"
    # A candidate that is refused becomes the interval's end.
    refused = (bet.lower >= 0.5) | (bet.upper <= 0.5)
    return [
        Finding("betting leaves out 0", setting, runs, int(refused.sum()), ALPHA),
        Finding(
            "predictable plug-in leaves out 0",
            setting,
            runs,
            int(((plug.lower > 0.5) | (plug.upper < 0.5)).sum()),
            ALPHA,
        ),
        Finding("stitched empirical Bernstein leaves out 0", setting, runs, int(missed["drifting"].sum()), ALPHA),
        Finding("asymptotic sequence leaves out 0", setting, runs, int(missed["asymptotic"].sum()), ALPHA),
        Finding("a fixed 95 % interval, peeked at, leaves out 0", setting, runs, int(missed["naive"].sum()), None),
    ]


def at_the_margin(runs: int, seed: int, steps: int = 2 * PAIRS) -> list[Finding]:
    """B is worse by just the margin: how often is it ever called not inferior? And equal arms: how soon equivalent?"""
    rng = np.random.default_rng(seed)
    worse = betting_lanes(2 * ALPHA, [-MARGIN], runs)
    equal = betting_lanes(2 * ALPHA, [-MARGIN, MARGIN], runs)
    equal.planned_units = PAIRS
    low, high = (1 - MARGIN) / 2, (1 + MARGIN) / 2
    shown: dict[int, int] = {}
    looks = (PAIRS, steps)
    for step in range(1, steps + 1):
        worse.add(paired(rng, runs, -MARGIN))
        equal.add(paired(rng, runs, 0.0))
        if step in looks:
            # The ends are candidates: >= for those that are refused.
            shown[step] = int(((equal.lower >= low - 1e-12) & (equal.upper <= high + 1e-12)).sum())
    false = int((worse.lower >= low - 1e-12).sum())
    setting = f"{DISCORDANCE:.0%} discordant, margin {MARGIN:.0%}, a look at each of"
    return [
        Finding("betting: not inferior, though worse by the margin", f"{setting} {steps} pairs", runs, false, ALPHA),
        *(
            Finding("betting: equal arms shown equivalent by then", f"{setting} {pairs} pairs", runs, count, None)
            for pairs, count in shown.items()
        ),
    ]


def live_split(runs: int, seed: int, conversations: int = 3000) -> list[Finding]:
    """Arms that are equal, conversations of 1 to 9 calls whose success hangs together, rates that drift over the day."""
    rng = np.random.default_rng(seed)
    bet, plug, drifting, asymptotic = (
        arm_difference(kind, ALPHA, planned_units=0 if kind != "asymptotic" else conversations)
        for kind in ("betting", "plug_in", "drifting", "asymptotic")
    )
    bet.betting = betting_lanes(ALPHA, [0.0], runs, reach=2.0)
    states: list[ArmDifference] = [bet, plug, drifting, asymptotic]
    missed = {name: np.zeros(runs, bool) for name in ("drifting", "asymptotic")}
    for step in range(conversations):
        mean = 0.9 - 0.3 * (np.sin(2 * np.pi * step / 800) > 0.5)
        calls = rng.integers(1, 10, runs)
        chance = rng.beta(4 * mean, 4 * (1 - mean), runs)
        outcome = rng.binomial(calls, chance) / calls
        is_b = (rng.random(runs) < 0.5).astype(float)
        for state in states:
            state.add(outcome, is_b, 0.5)
        inner = drifting.drifting
        missed["drifting"] |= abs(inner.total / inner.count - 0.5) > inner.half_width
        missed["asymptotic"] |= abs(asymptotic.asymptotic.mean) > asymptotic.asymptotic.half_width
    found = {
        "betting": (bet.betting.lower >= 0.5) | (bet.betting.upper <= 0.5),
        "predictable plug-in": (plug.plug_in.lower > 0.5) | (plug.plug_in.upper < 0.5),
        "stitched empirical Bernstein": missed["drifting"],
        "asymptotic sequence": missed["asymptotic"],
    }
    setting = f"live split, equal arms, {conversations} conversations of 1 to 9 calls, rates drift"
    return [Finding(f"{name} leaves out 0", setting, runs, int(each.sum()), ALPHA) for name, each in found.items()]


def endpoints(runs: int, seed: int, steps: int = 1500) -> list[Finding]:
    """Ten endpoints of which five are not inferior: how many of those that e-BH names are wrong, stopped at a chance moment."""
    rng = np.random.default_rng(seed)
    truths = [-0.05] * 5 + [0.0] * 5
    states = [betting_lanes(2 * ALPHA, [-0.05], runs) for _ in truths]
    stops = rng.integers(steps // 2, steps + 1, runs)
    evidence = np.zeros((len(truths), runs))
    for step in range(1, steps + 1):
        # The same calls feed all endpoints, which hang together.
        differs = rng.random(runs) < 0.2
        for row, (truth, state) in enumerate(zip(truths, states, strict=True)):
            state.add(np.where(differs, paired(rng, runs, truth / 0.2, 0.5), 0.0))
            evidence[row] = np.where(stops == step, state.above[0], evidence[row])
    wrong = named = 0.0
    for column in evidence.T:
        refused = e_bh({str(row): float(value) for row, value in enumerate(column)}, ALPHA)
        false = sum(int(name) < 5 for name in refused)
        wrong += false / max(len(refused), 1)
        named += len(refused) - false
    setting = f"10 endpoints, 5 true, stopped at a chance moment within {steps} pairs"
    return [
        Finding("e-BH: share of wrong ones among the named", setting, runs, round(wrong), ALPHA),
        Finding("e-BH: share of the true ones named", setting, runs * 5, round(named), None),
    ]
