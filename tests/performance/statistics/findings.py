"""What a simulation found, and whether that is what the method promises."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from plugins.experiments.statistics.distributions import beta_quantile, binomial_tail

# A promise counts as broken when so many false alarms would come by chance less often than this.
BY_CHANCE = 1e-3


class Finding(NamedTuple):
    """How often something happened in a number of runs.

    `promised` is the most (`at_most`), or about what, its chance may be; None for what is shown for contrast only.
    """

    name: str
    setting: str
    runs: int
    happened: int
    promised: float | None
    at_most: bool = True

    @property
    def share(self) -> float:
        return self.happened / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper-Pearson, 95 %."""
        low = beta_quantile(0.025, self.happened, self.runs - self.happened + 1) if self.happened else 0.0
        high = beta_quantile(0.975, self.happened + 1, self.runs - self.happened) if self.happened < self.runs else 1.0
        return low, high

    @property
    def holds(self) -> bool:
        if self.promised is None:
            return True
        too_many = binomial_tail(self.happened, self.runs, self.promised) < BY_CHANCE
        too_few = 1 - binomial_tail(self.happened + 1, self.runs, self.promised) < BY_CHANCE
        return not too_many and (self.at_most or not too_few)


Simulation = Callable[[int, int], list[Finding]]


def timed(simulation: Simulation, runs: int, seed: int) -> tuple[list[Finding], float]:
    """A simulation's findings, and the processor seconds that it took."""
    begun = time.process_time()
    return simulation(runs, seed), time.process_time() - begun


def table(findings: list[Finding]) -> list[str]:
    """Findings as the rows of a Markdown table."""
    rows = [
        "| what happened | setting | runs | share | 95 % interval | promised | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in findings:
        low, high = each.interval
        promised = "no" if each.promised is None else f"{'≤' if each.at_most else 'about'} {each.promised:.1%}"
        holds = "-" if each.promised is None else "yes" if each.holds else "**NO**"
        rows.append(
            f"| {each.name} | {each.setting} | {each.runs:,} | {each.share:.2%} | {low:.2%} to {high:.2%} | {promised} | {holds} |"
        )
    return rows
