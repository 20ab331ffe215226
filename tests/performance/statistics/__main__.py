"""Runs every simulation of the statistics and writes down what was found.

`python -m tests.performance.statistics [--runs N] [--seed N] [--out FILE]`; the exit status is 1 if a promise does not hold.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.performance.statistics import count_peeking, fixed_size, peeking, quantile_peeking
from tests.performance.statistics.findings import Finding, Simulation, table, timed

RESULTS = Path(__file__).parent / "results" / "simulations.md"
# Each with the share of the runs that it takes: those that go through whole comparisons are slow.
SIMULATIONS: dict[str, tuple[Simulation, float]] = {
    "Paired rates, watched": (peeking.no_difference, 1),
    "Paired rates at the margin, watched": (peeking.at_the_margin, 1),
    "Live split, watched": (peeking.live_split, 1),
    "Endpoints together": (peeking.endpoints, 1),
    "Pairs by their counts, watched": (count_peeking.pairs, 1),
    "Conversations by their counts, watched": (count_peeking.conversations, 0.1),
    "Quantiles, watched": (quantile_peeking.true_quantiles, 1),
    "Whole latency comparisons, watched": (quantile_peeking.slow_arms, 0.02),
    "Sample ratio, watched": (quantile_peeking.sample_ratios, 1),
    "Paired rates, one look": (fixed_size.paired_sizes, 1),
    "Independent rates, one look": (fixed_size.unpaired_sizes, 0.2),
    "Clustered pairs, one look": (fixed_size.conversations, 0.5),
}


def main() -> int:
    """Run all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20_261_123)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    lines = [
        "# Simulations of the statistics",
        "",
        f"`python -m tests.performance.statistics --runs {asked.runs} --seed {asked.seed}`. What is promised holds unless so many",
        "would come by chance in fewer than 1 of 1,000 such simulations (exact binomial). Rows without a promise are for contrast.",
    ]
    everything: list[Finding] = []
    for title, (simulation, part) in SIMULATIONS.items():
        findings, seconds = timed(simulation, max(int(asked.runs * part), 10), asked.seed)
        everything += findings
        lines += ["", f"## {title}", "", *table(findings)]
        print(f"{title}: {seconds:.0f} s of processor time", *table(findings)[2:], sep="\n", flush=True)  # noqa: T201
    asked.out.parent.mkdir(exist_ok=True)
    asked.out.write_text("\n".join(lines) + "\n")
    return 0 if all(each.holds for each in everything) else 1


if __name__ == "__main__":
    sys.exit(main())
