"""The proofs of `make prove-quotas` in small: two gateways, one Valkey, one PostgreSQL; how fast it goes does not matter."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.performance.quotas.crowd import Habits
from tests.performance.quotas.judging import Judged
from tests.performance.quotas.spending import Kill, Run, Trouble, spend
from tests.performance.quotas.world import Plan, calendar, world
from tests.support.postgres import PostgresServer

TOKENS = 10_000
SEED = 20_260_101

# What a killed gateway had not told is counted from its beginning: how often it tells, a busy machine decides too.
ALL_ITS_LIFE = 0.0


async def kill_a_gateway(run: Run) -> None:
    await run.until_used(TOKENS / 4)
    run.kills.append(Kill(1, time.monotonic(), ALL_ITS_LIFE))
    await asyncio.to_thread(run.world.nodes[1].kill)
    await asyncio.to_thread(run.world.nodes[1].start)


async def restart_valkey(run: Run) -> None:
    await run.until_used(TOKENS / 4)
    await asyncio.to_thread(run.world.valkey.restart)


@pytest.mark.parametrize(
    ("trouble", "leaving"),
    [(restart_valkey, 0.3), (kill_a_gateway, 0.0)],
    ids=["valkey is killed and clients leave", "a gateway is killed"],
)
def test_budget_ledger_and_engines_agree(postgres: PostgresServer, trouble: Trouble, leaving: float) -> None:
    # A dead gateway's slices are waited for; nobody else's may lapse, however busy the machine is.
    lease_seconds = 3.0 if trouble is kill_a_gateway else 30.0
    plan = Plan(
        limit={"amount": TOKENS, **calendar()},
        nodes=2,
        engines=2,
        first_ms=20.0,
        lease_seconds=lease_seconds,
        persistent=True,
    )
    habits = Habits(clients=40, words=30, most=40, leaving=leaving)
    with world(plan, postgres) as processes:
        run = asyncio.run(spend(plan, processes, habits, SEED, [trouble]))
    judged = Judged(run)
    assert [each for each in judged.statements() if not each.holds] == []
    assert judged.ledger.tokens > 0
    assert len(run.said) == len({said.name for said in run.said})
    if not run.kills:
        # With input that was counted and answers that were limited there are no debts, but where clients left.
        assert judged.bound.total == TOKENS + judged.bound.debts
        assert judged.ledger.tokens == run.stored["tokens"].used
