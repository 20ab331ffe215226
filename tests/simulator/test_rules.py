"""What the default routing promises, on the mixed fleet; virtual time, so it is the same on any machine."""

from __future__ import annotations

import pytest

from tests.simulator.comparing import page, row
from tests.simulator.fleets import MIXED
from tests.simulator.plot import draw
from tests.simulator.rules import OTHERS, OURS, RULES
from tests.simulator.running import Result, simulate
from tests.simulator.workloads import WORKLOADS

SEED = 11  # not one of those that the page shows


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_default_list_is_soonest_for_95_of_100_calls_and_keeps_to_every_slot(workload: str) -> None:
    make = WORKLOADS[workload]
    ours = simulate(OURS, MIXED, make(SEED), SEED)
    calls = sum(len(conversation.turns) for conversation in make(SEED))
    assert len(ours.first_seconds) == sum(ours.placed.values()) == calls
    assert ours.over_slots == 0
    others = {rule: simulate(rule, MIXED, make(SEED), SEED) for rule in OTHERS}
    assert {
        rule: found.quantile(0.95) for rule, found in others.items() if found.quantile(0.95) <= ours.quantile(0.95)
    } == {}


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (simulate(OURS, MIXED, WORKLOADS["agents"](3), 3) for _ in range(2))
    assert (first.first_seconds, first.placed) == (second.first_seconds, second.placed)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_serves_every_call(rule: str) -> None:
    make = WORKLOADS["bursts"]
    found = simulate(rule, MIXED, make(2)[:200], 2, capped=False)
    assert len(found.first_seconds) == 200


def test_without_slots_the_small_engines_are_overrun_by_round_robin() -> None:
    """Or the figure of the others would mean nothing."""
    assert simulate("round robin", MIXED, WORKLOADS["short chat"](2)[:300], 2, capped=False).over_slots > 0


def test_a_page_and_a_plot() -> None:
    result = Result([0.1, 0.2], prompt_tokens=10, cached_tokens=5, answer_tokens=20, seconds=2.0)
    rows = [row("bursts", "round robin", False, [result]), row("bursts", OURS, True, [result])]
    text, drawn = page(rows, 1), draw(rows)
    assert "| round robin, no slots | 0.20 | 0.20 | 0.20 | 10 | 50% | 0 |" in text
    assert f"| **{OURS}** | **0.20**" in text
    assert drawn.count("<rect") == 2
    assert 'class="bar ours"' in drawn
