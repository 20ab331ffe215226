"""What every store of budgets must do, whatever it is made of: a store's test inherits the cases and says how to open one.

class TestMyStore(BudgetStoreCases):
    @pytest.fixture
    def open_bench(self) -> Callable[[], Bench]: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import Budget, BudgetStore, Exchange, Grant, StoreUnavailable
from tests.support.budget_store_model import Ledger

START = 1_800_000_000.0  # an ordinary day


class Bench(Protocol):
    """A store with a clock of its own.

    Attributes:
        lease_seconds: how long a node holds its slices without a word; None if for ever.
        most_nodes: how many nodes may share it.
        now: seconds since 1970; tests set it.
    """

    lease_seconds: float | None
    most_nodes: int
    now: float

    async def node(self) -> BudgetStore:
        """One more node."""

    def lose_next_answer(self, node: BudgetStore) -> bool:
        """Let the store do what this node asks next, and the node not hear of it; False if that cannot happen to it."""

    async def mend(self, node: BudgetStore) -> None:
        """Return when the node can reach the store again, after an answer was lost."""

    async def aclose(self) -> None:
        """The end."""


async def one(node: BudgetStore, budget: Budget, **what: int) -> Grant:
    """An exchange of one budget."""
    (grant,) = await node.exchange([Exchange(budget=budget, **what)])
    return grant


def figures(grant: Grant) -> tuple[int, int, int]:
    """Granted, free, held."""
    return grant.granted, grant.free, grant.held


class BudgetStoreCases:
    """The cases."""

    @pytest.fixture
    def open_bench(self) -> Callable[[], Bench]:
        raise NotImplementedError

    @pytest.fixture
    async def bench(self, open_bench: Callable[[], Bench]) -> AsyncIterator[Bench]:
        bench = open_bench()
        yield bench
        await bench.aclose()

    async def test_grants_what_is_wanted_as_long_as_it_is_there(self, bench: Bench) -> None:
        node, budget = await bench.node(), Budget(key="a", capacity=100)
        assert figures(await one(node, budget, wanted=60)) == (60, 40, 60)
        assert figures(await one(node, budget, wanted=60)) == (40, 0, 100)
        assert figures(await one(node, budget, wanted=1)) == (0, 0, 100)

    async def test_grants_nothing_where_least_is_more_than_is_free(self, bench: Bench) -> None:
        node, budget = await bench.node(), Budget(key="a", capacity=100)
        assert figures(await one(node, budget, wanted=200, least=101)) == (0, 100, 0)
        assert figures(await one(node, budget, wanted=200, least=100)) == (100, 0, 100)

    async def test_what_was_spent_is_gone_and_what_is_returned_is_free(self, bench: Bench) -> None:
        node, budget = await bench.node(), Budget(key="a", capacity=100)
        await one(node, budget, wanted=60)
        assert figures(await one(node, budget, spent=50, returned=10)) == (0, 50, 0)

    async def test_spending_more_than_was_held_is_a_debt(self, bench: Bench) -> None:
        node, budget = await bench.node(), Budget(key="a", capacity=100)
        await one(node, budget, wanted=100)
        assert figures(await one(node, budget, spent=130, wanted=10)) == (0, -30, 0)

    async def test_a_correction_gives_back_to_the_slice(self, bench: Bench) -> None:
        node, budget = await bench.node(), Budget(key="a", capacity=100)
        await one(node, budget, wanted=60)
        await one(node, budget, spent=30)
        assert figures(await one(node, budget, spent=-5)) == (0, 40, 35)
        assert figures(await one(node, budget, returned=35)) == (0, 75, 0)

    async def test_several_budgets_are_answered_in_their_order(self, bench: Bench) -> None:
        node = await bench.node()
        budgets = [Budget(key=f"budget {number}", capacity=number) for number in range(1, 8)]
        grants = await node.exchange([Exchange(budget=budget, wanted=5) for budget in budgets])
        assert [grant.granted for grant in grants] == [1, 2, 3, 4, 5, 5, 5]
        assert list(await node.exchange([])) == []

    async def test_a_bucket_refills_steadily_and_never_beyond_its_capacity(self, bench: Bench) -> None:
        node, budget = await bench.node(), Budget(key="a", capacity=100, refill_per_second=0.5)
        await one(node, budget, wanted=100)
        await one(node, budget, spent=100)
        for seconds, free in ((1.0, 0), (1.0, 1), (7.0, 4), (1.0, 5), (1_000.0, 100)):
            bench.now += seconds
            assert (await one(node, budget)).free == free

    async def test_a_slice_that_is_held_is_part_of_the_bucket(self, bench: Bench) -> None:
        """Else a node could save up a slice beside a full bucket, and spend both at once."""
        node, budget = await bench.node(), Budget(key="a", capacity=100, refill_per_second=100.0)
        await one(node, budget, wanted=60)
        bench.now += 5.0
        assert figures(await one(node, budget, wanted=100)) == (40, 0, 100)

    async def test_fractions_of_a_unit_add_up_exactly(self, bench: Bench) -> None:
        """A thousand tellings a millisecond apart neither lose nor make up what refills in a second."""
        node, budget = await bench.node(), Budget(key="a", capacity=1_000, refill_per_second=1000 / 60)
        await one(node, budget, wanted=1_000)
        await one(node, budget, spent=1_000)
        for _ in range(1_000):
            bench.now = round(bench.now + 0.003, 3)
            await one(node, budget)
        assert (await one(node, budget)).free == 50

    async def test_a_debt_is_refilled_too(self, bench: Bench) -> None:
        node, budget = await bench.node(), Budget(key="a", capacity=10, refill_per_second=1.0)
        await one(node, budget, wanted=10)
        await one(node, budget, spent=30)
        bench.now += 15.0
        assert (await one(node, budget, wanted=5)).free == -5
        bench.now += 8.0
        assert figures(await one(node, budget, wanted=5)) == (3, 0, 3)

    async def test_large_amounts_are_exact(self, bench: Bench) -> None:
        """A million in billionths, as costs are counted."""
        node, capacity = await bench.node(), 10**15
        budget = Budget(key="a", capacity=capacity, ends_at=bench.now + 86_400)
        assert figures(await one(node, budget, wanted=capacity - 1)) == (capacity - 1, 1, capacity - 1)
        assert figures(await one(node, budget, spent=capacity - 3)) == (0, 1, 2)

    async def test_a_budget_that_grew_keeps_count_of_what_is_spent(self, bench: Bench) -> None:
        node = await bench.node()
        await one(node, Budget(key="a", capacity=10), wanted=10)
        await one(node, Budget(key="a", capacity=10), spent=10)
        assert figures(await one(node, Budget(key="a", capacity=25), wanted=20)) == (15, 0, 15)
        assert (await one(node, Budget(key="a", capacity=8))).free == -17

    async def test_nodes_share_a_budget(self, bench: Bench) -> None:
        mine, other = await self._two(bench)
        budget = Budget(key="a", capacity=100)
        assert figures(await one(mine, budget, wanted=70)) == (70, 30, 70)
        assert figures(await one(other, budget, wanted=70)) == (30, 0, 30)
        await one(mine, budget, spent=20, returned=50)
        assert figures(await one(other, budget, wanted=70)) == (50, 0, 80)

    async def test_a_node_that_is_silent_loses_its_slice(self, bench: Bench) -> None:
        mine, other = await self._two(bench)
        lease, budget = bench.lease_seconds, Budget(key="a", capacity=100)
        assert lease is not None
        await one(mine, budget, wanted=80)
        await one(mine, budget, spent=30)
        bench.now += lease - 0.001
        assert (await one(other, budget)).free == 20
        bench.now += 0.001
        assert (await one(other, budget)).free == 70
        assert figures(await one(mine, budget)) == (0, 70, 0)

    async def test_each_word_of_a_node_begins_its_lease_anew(self, bench: Bench) -> None:
        mine, other = await self._two(bench)
        lease, budget = bench.lease_seconds, Budget(key="a", capacity=100)
        assert lease is not None
        await one(mine, budget, wanted=80)
        for _ in range(5):
            bench.now += lease * 0.9
            assert (await one(mine, budget)).held == 80
            assert (await one(other, budget)).free == 20

    async def test_what_a_node_tells_after_its_slice_was_lost_is_still_counted(self, bench: Bench) -> None:
        mine, other = await self._two(bench)
        lease, budget = bench.lease_seconds, Budget(key="a", capacity=100)
        assert lease is not None
        await one(mine, budget, wanted=80)
        bench.now += lease
        assert figures(await one(other, budget, wanted=100)) == (100, 0, 100)
        assert figures(await one(mine, budget, spent=50, returned=30, wanted=1)) == (0, -50, 0)

    async def _two(self, bench: Bench) -> tuple[BudgetStore, BudgetStore]:
        if bench.most_nodes < 2:
            pytest.skip("this store is one node's")
        return await bench.node(), await bench.node()

    @settings(suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_it_does_what_a_simple_model_does(self, open_bench: Callable[[], Bench], data: st.DataObject) -> None:
        asyncio.run(_compare(open_bench(), data))


_AMOUNTS = st.integers(0, 60)
_BUDGETS = (
    Budget(key="plain", capacity=100),
    Budget(key="slow", capacity=50, refill_per_second=0.7),
    Budget(key="fast", capacity=80, refill_per_second=1000 / 60),
)
_MOMENTS = (0.0, 0.001, 0.25, 1.0, 3.0, 9.5, 30.0)


async def _compare(bench: Bench, data: st.DataObject) -> None:
    try:
        nodes = [await bench.node() for _ in range(min(bench.most_nodes, 3))]
        ledger = Ledger(bench.lease_seconds)
        budgets, moments = st.sampled_from(_BUDGETS), st.sampled_from(_MOMENTS)
        for _ in range(data.draw(st.integers(1, 25))):
            bench.now += data.draw(moments)
            index, budget = data.draw(st.sampled_from(range(len(nodes)))), data.draw(budgets)
            caller = ledger.caller(index, budget)
            caller.untold += data.draw(st.integers(-10, 60))
            returned = data.draw(st.integers(0, max(caller.held - caller.untold, 0)))
            what = Exchange(
                budget=budget,
                spent=caller.untold,
                returned=returned,
                wanted=data.draw(_AMOUNTS),
                least=data.draw(_AMOUNTS),
            )
            lost = data.draw(st.booleans()) and bench.lose_next_answer(nodes[index])
            expected = ledger.exchange(index, what, bench.now, heard=not lost)
            if lost:
                with pytest.raises(StoreUnavailable):
                    await nodes[index].exchange([what])
                await bench.mend(nodes[index])
            else:
                (grant,) = await nodes[index].exchange([what])
                assert figures(grant) == expected
    finally:
        await bench.aclose()
