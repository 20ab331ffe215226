"""Simulated runs: the F1 interval covers as often as it says, and an engine against itself is told apart only as allowed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from plugins.experiments.compare.endpoints import ENDPOINTS, find
from plugins.experiments.compare.f1 import counts, difference
from plugins.experiments.compare.results import Checks, Result, ToolCall
from tests.unit.plugins.experiments.compare.made import answer, result, write_run

CALL = [ToolCall("look", "{}")]


def triggers(chance: random.Random, wanted: list[bool], right: float) -> list[tuple[str, bool, bool]]:
    """An arm that does as the reference with a probability: with as many calls as not, its F1 is this probability."""
    return [(str(n), each, each if chance.random() < right else not each) for n, each in enumerate(wanted)]


def coverage(first: float, second: float, runs: int = 400, calls: int = 100) -> tuple[float, float]:
    """How often a 90 % interval covers the truth, and how often it lies wholly below it."""
    chance = random.Random(11)
    order = [str(number) for number in range(calls)]
    covered = below = 0
    for _ in range(runs):
        wanted = [chance.random() < 0.5 for _ in range(calls)]
        a, b = triggers(chance, wanted, first), triggers(chance, wanted, second)
        found = difference(counts(a, order), counts(b, order), calls, 0.9)
        covered += found.lower <= second - first <= found.upper
        below += found.upper < second - first
    return covered / runs, below / runs


def test_the_interval_of_f1_covers() -> None:
    for first, second in ((0.9, 0.8), (0.85, 0.85), (0.99, 0.99)):
        covered, below = coverage(first, second)
        assert covered > 0.87, (first, second)
        assert below < 0.075, (first, second)


def noisy(chance: random.Random, calls: int) -> list[Result]:
    """Two arms and a null arm of one engine that samples: triggers, validity and failures come by chance."""
    found = []
    for number in range(calls):
        for copy in (0, 1):
            for arm in ("a", "b"):
                called, valid = chance.random() < 0.6, chance.random() < 0.8
                said = answer(text="", tool_calls=CALL, finish_reason="tool_calls") if called else answer()
                said.ttft_seconds = chance.expovariate(10)
                said.total_seconds = said.ttft_seconds + 0.06
                if chance.random() < 0.02:
                    said = answer(text="", error="timed_out", ttft_seconds=None, gaps_seconds=[])
                checks = Checks(schema_valid=valid) if said.finish_reason == "tool_calls" else Checks()
                more = {"copy": copy, "greedy": False, "declares_tools": True, "checks": checks}
                found.append(result(arm, number, said=said, **more))  # type: ignore[arg-type]
    return found


def test_an_engine_against_itself_is_told_apart_no_more_often_than_is_allowed(tmp_path: Path) -> None:
    """Each endpoint may err in one run of twenty; latencies, by their sequences, hardly ever."""
    named: Counter[str] = Counter()
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        findings = find(write_run(folder, noisy(random.Random(seed), 60), copies=2))
        verdicts = {name: findings.verdict(name).verdict for name in ENDPOINTS}
        named.update(name for name, word in verdicts.items() if word in ("inferior", "faster", "slower"))
    assert not [name for name in named if ENDPOINTS[name].kind == "latency"]
    # Four or more of twenty come by chance in 1.6 % of all cases at 5 %.
    assert max(named.values(), default=0) <= 3
    assert named.total() <= 4
