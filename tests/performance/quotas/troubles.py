"""What breaks in the middle of a run: Valkey, a gateway, both; when and for how long comes from the run's seed."""

from __future__ import annotations

import asyncio
import time

from tests.performance.quotas.books import stored
from tests.performance.quotas.spending import Kill, Run
from tests.performance.quotas.world import BUDGET

# A node tells what it used within half a second, looks every quarter, and waits 50 ms for the answer; a busy machine
# adds to that.
TELL_SECONDS = 1.0


async def lose_valkey(run: Run) -> None:
    """Kill Valkey when part of the budget is used, and start it again a little later."""
    await _kill_valkey(run)
    await asyncio.sleep(run.choice.uniform(0.3, 1.2))
    await asyncio.to_thread(run.world.valkey.start)


async def lose_gateway(run: Run) -> None:
    """Kill a gateway when part of the budget is used, and start it again."""
    await run.until_used(run.capacity * run.choice.uniform(0.4, 0.6))
    number = await _kill_gateway(run, time.monotonic())
    await asyncio.sleep(run.choice.uniform(0.1, 0.5))
    await asyncio.to_thread(run.world.nodes[number].start)


async def lose_both(run: Run) -> None:
    """Kill Valkey and, before it is back, a gateway: what that one used since then it cannot have told."""
    since = await _kill_valkey(run)
    await asyncio.sleep(run.choice.uniform(0.1, 0.4))
    number = await _kill_gateway(run, since)
    await asyncio.sleep(run.choice.uniform(0.1, 0.4))
    await asyncio.to_thread(run.world.valkey.start)
    await asyncio.to_thread(run.world.nodes[number].start)


async def _kill_valkey(run: Run) -> float:
    await run.until_used(run.capacity * run.choice.uniform(0.2, 0.5))
    if not run.plan.persistent:
        run.forgotten.append(stored(run.world.valkey, BUDGET).used)
    since = time.monotonic()
    await asyncio.to_thread(run.world.valkey.kill)
    return since


async def _kill_gateway(run: Run, told_at: float) -> int:
    number = run.choice.randrange(len(run.world.nodes))
    run.kills.append(Kill(number, time.monotonic(), told_at - TELL_SECONDS))
    await asyncio.to_thread(run.world.nodes[number].kill)
    return number
