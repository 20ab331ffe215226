"""Every rule against every workload, as rows and as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from tests.simulator.fleets import MIXED
from tests.simulator.rules import OTHERS, OURS, RULES
from tests.simulator.running import Result, simulate
from tests.simulator.workloads import WORKLOADS

FLEET = "two vLLM on 8 GPUs each, one SGLang on 8 GPUs, two KTransformers with four slots each"


@dataclass(frozen=True)
class Row:
    """One rule with one workload; each figure is the median of the seeds, slots the worst.

    Attributes:
        first: seconds to the first event at the 50th, 95th and 99th percentile, waiting at the gateway included.
    """

    workload: str
    rule: str
    capped: bool
    first: tuple[float, float, float]
    tokens_a_second: float
    hit_share: float
    over_slots: int

    @property
    def name(self) -> str:
        """The rule as it is shown."""
        return self.rule if self.capped or self.rule not in OTHERS else f"{self.rule}, no slots"


def variants() -> list[tuple[str, bool]]:
    """Each rule, and whether the gateway keeps to the engines' slots."""
    return [(rule, capped) for rule in RULES for capped in ((False, True) if rule in OTHERS else (True,))]


def compare(seeds: Iterable[int], say: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Run them all."""
    seeds, rows = list(seeds), []
    for workload, make in WORKLOADS.items():
        for rule, capped in variants():
            say(f"{workload}: {rule}{'' if capped else ', no slots'}")
            rows.append(
                row(workload, rule, capped, [simulate(rule, MIXED, make(seed), seed, capped=capped) for seed in seeds])
            )
    return rows


def row(workload: str, rule: str, capped: bool, results: list[Result]) -> Row:
    """Sum up the runs of one kind."""
    return Row(
        workload=workload,
        rule=rule,
        capped=capped,
        first=(
            median(each.quantile(0.50) for each in results),
            median(each.quantile(0.95) for each in results),
            median(each.quantile(0.99) for each in results),
        ),
        tokens_a_second=median(each.answer_tokens_a_second for each in results),
        hit_share=median(each.hit_share for each in results),
        over_slots=max(each.over_slots for each in results),
    )


def page(rows: list[Row], seeds: int) -> str:
    """What is committed."""
    parts = [HEAD.format(fleet=FLEET, seeds=seeds)]
    for workload, make in WORKLOADS.items():
        parts.append(f"\n## {workload[0].upper()}{workload[1:]}\n{make.__doc__}\n")
        parts.append("| rule | p50 s | p95 s | p99 s | answer tokens/s | prefix hits | calls over slots |")
        parts.append("|---|---:|---:|---:|---:|---:|---:|")
        for each in rows:
            if each.workload == workload:
                mark = "**" if each.rule == OURS else ""
                first = " | ".join(f"{mark}{seconds:,.2f}{mark}" for seconds in each.first)
                rest = f"{each.tokens_a_second:,.0f} | {each.hit_share:.0%} | {each.over_slots}"
                parts.append(f"| {mark}{each.name}{mark} | {first} | {rest} |")
    return "\n".join(parts) + "\n"


HEAD = """\
# Routing, simulated

Time to the first event of every rule, with real placement and policy code, virtual time and engines by their service curves.
Fleet: {fleet}. Medians of {seeds} seeds, the worst for slots.
Made by `make simulate ARGS="--out tests/simulator/results"`; the same seeds give the same figures.

![p95 of the time to the first event](first-event.svg)

How to read it:
- Service curves come from published measurements (`fleets.py` names them); workloads are ours (`workloads.py`). The engines of the
  model read prompts one after another, share their speed among answers, and keep prefixes as long as their KV cache has room.
- Other routers' rules know nothing of slots. "no slots" is what they do by themselves: all is sent at once and queues in the
  engine. Without that mark they are given our slots and our queue, so that only the choice differs.
- Our policies learn while they run and know nothing beforehand: the first calls that KTransformers gets are the price of that.
- A model is kinder than the world: speeds are even, and what the policies predict is of the same kind as what the model does.
  Look at ratios between rules, not at seconds.
"""
