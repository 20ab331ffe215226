"""`make prove-resilience ARGS="--engines real"` in small: vLLM and the reference engine, which is killed and drained."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.resilience.real_stage import RealStage, real_stage
from tests.resilience.scenarios import REAL_SCENARIOS
from tests.resilience.scene import scene

PAIR = ("vllm", "torch_reference")
# The others take what they take with scripted engines, or vLLM's start again and again.
NAMES = ("killed", "drains", "freezes", "leaving", "slow_readers", "gateway_drains", "half_open", "resets")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[RealStage]:
    """One gateway lives through all of them."""
    async with real_stage(PAIR, seed=1, small=True) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", NAMES)
async def test_nobody_sees_a_wrong_success_and_nothing_is_left(shared: RealStage, name: str) -> None:
    async with scene(shared, print) as made:
        await REAL_SCENARIOS[name](made)
    assert made.problems == []
    assert made.load.said
