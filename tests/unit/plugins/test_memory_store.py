from __future__ import annotations

from typing import Any

import pytest

from gateway.contracts.store import Budget, Exchange, Grant, LocalBudgetStore
from plugins.memory_store import Accounts, MemoryStore


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def budget(**changes: Any) -> Budget:
    return Budget(**{"key": "b", "capacity": 100, **changes})


class Scene:
    def __init__(self, **changes: Any) -> None:
        self.clock = Clock()
        self.accounts = Accounts(self.clock, lease_seconds=30.0)
        self.budget = budget(**changes)
        self.nodes = {name: MemoryStore(self.accounts, name) for name in "ab"}

    async def tell(self, node: str = "a", **told: int) -> tuple[int, int, int]:
        (grant,) = await self.nodes[node].exchange([Exchange(budget=self.budget, **told)])
        assert grant.lease_seconds == 30.0
        return grant.granted, grant.free, grant.held


async def test_slices_come_from_what_nobody_holds() -> None:
    scene = Scene()
    assert await scene.tell("a", wanted=60) == (60, 40, 60)
    assert await scene.tell("b", wanted=60) == (40, 0, 40)
    assert await scene.tell("b", returned=30) == (0, 30, 10)
    assert await scene.tell("a", wanted=100, least=31) == (0, 30, 60)
    assert await scene.tell("a", wanted=100, least=30) == (30, 0, 90)


async def test_what_is_spent_beyond_a_slice_is_a_debt() -> None:
    scene = Scene()
    await scene.tell("a", wanted=10)
    assert await scene.tell("a", spent=130, wanted=5) == (0, -30, 0)
    assert await scene.tell("a", spent=-50, wanted=5) == (0, -30, 50)  # the correction is held again
    assert scene.accounts.used("b") == 80


async def test_a_silent_node_loses_its_slice() -> None:
    scene = Scene()
    await scene.tell("a", wanted=100)
    scene.clock.now += 29
    assert await scene.tell("b", wanted=1) == (0, 0, 0)
    scene.clock.now += 1
    assert await scene.tell("b", wanted=1) == (1, 99, 1)
    assert await scene.tell("a", spent=70) == (0, 29, 0)


async def test_what_is_spent_comes_back_at_its_rate_and_no_further() -> None:
    scene = Scene(refill_per_second=0.5)
    await scene.tell(wanted=100)
    await scene.tell(spent=100)
    scene.clock.now += 3  # a unit and a half
    assert await scene.tell() == (0, 1, 0)
    scene.clock.now += 1  # the half is not lost
    assert await scene.tell() == (0, 2, 0)
    scene.clock.now += 1_000
    assert await scene.tell() == (0, 100, 0)


async def test_a_budget_that_is_over_counts_a_while_longer_and_gives_nothing_then() -> None:
    scene = Scene(ends_at=2_000.0)
    scene.clock.now = 2_059
    assert await scene.tell(wanted=5, spent=3) == (5, 92, 5)
    scene.clock.now = 2_060
    assert await scene.tell(wanted=5) == (0, 0, 0)


@pytest.mark.parametrize("changes", [{"refill_per_second": 10.0}, {"ends_at": 1_005.0}])
async def test_budgets_that_are_whole_or_over_are_forgotten(changes: dict[str, float]) -> None:
    scene = Scene()
    store = scene.nodes["a"]
    for number in range(500):
        old = budget(key=str(number), **changes)
        await store.exchange([Exchange(budget=old, wanted=1)])
        await store.exchange([Exchange(budget=old, spent=1)])
    assert len(scene.accounts) == 500
    scene.clock.now += 100
    for _ in range(300):
        await store.exchange([Exchange(budget=budget(key="used"), spent=1)])
    assert len(scene.accounts) == 1


async def test_several_budgets_are_answered_in_order() -> None:
    wishes = [Exchange(budget=budget(key=key), wanted=size) for key, size in (("x", 1), ("y", 2), ("z", 3))]
    grants = await MemoryStore(Accounts()).exchange(wishes)
    assert [grant.granted for grant in grants] == [1, 2, 3]
    assert all(isinstance(grant, Grant) for grant in grants)


async def test_a_wall_clock_that_is_set_gives_nothing_back() -> None:
    wall, steady = Clock(), Clock()
    store = MemoryStore(Accounts(wall, steady=steady))
    spent = [Exchange(budget=budget(refill_per_second=1.0), spent=100)]
    await store.exchange(spent)
    wall.now += 3_600
    steady.now += 5
    (grant,) = await store.exchange([Exchange(budget=budget(refill_per_second=1.0))])
    assert grant.free == 5


async def test_it_is_a_store_of_this_process_alone() -> None:
    assert isinstance(MemoryStore(), LocalBudgetStore)
