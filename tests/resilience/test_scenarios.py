"""Every scenario of `make prove-resilience` in small: few clients, for seconds; how long it takes does not matter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.resilience.scenarios import SCENARIOS
from tests.resilience.scene import scene
from tests.resilience.scripted_stage import scripted_stage
from tests.resilience.stage import Stage

MINUTES = 0.05


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Stage]:
    """One gateway lives through all of them."""
    async with scripted_stage(seed=1, small=True, minutes=MINUTES, interval_ms=20) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", SCENARIOS)
async def test_nobody_sees_a_wrong_success_and_nothing_is_left(shared: Stage, name: str) -> None:
    async with scene(shared, print) as made:
        await SCENARIOS[name](made)
    assert made.problems == []
    if made.untried:
        pytest.skip(made.untried)
    assert made.load.said
