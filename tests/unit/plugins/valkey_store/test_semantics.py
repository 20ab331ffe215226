"""What every store must do, on a real server; and again on a line that loses answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from gateway import Budget, Exchange, StoreUnavailable
from plugins.valkey_store import link
from tests.support.budget_store_cases import Bench, BudgetStoreCases, figures, one
from tests.support.valkey import ValkeyServer
from tests.unit.plugins.valkey_store.benches import ValkeyBench


class TestValkeyStore(BudgetStoreCases):
    @pytest.fixture
    def open_bench(self, shared_valkey: ValkeyServer) -> Callable[[], Bench]:
        return partial(ValkeyBench, shared_valkey)


class TestValkeyStoreOnALossyLine(BudgetStoreCases):
    @pytest.fixture
    def open_bench(self, shared_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Bench]:
        monkeypatch.setattr(link, "PAUSES", (0.001, 0.002))
        return partial(ValkeyBench, shared_valkey, lossy=True)

    async def test_what_is_told_again_counts_once(self, bench: ValkeyBench) -> None:
        node, budget = await bench.node(), Budget(key="a", capacity=100)
        await one(node, budget, wanted=60)
        for spent in (20, 25, 31):
            bench.lose_next_answer(node)
            with pytest.raises(StoreUnavailable):
                await one(node, budget, spent=spent, returned=5)
            await bench.mend(node)
        assert figures(await one(node, budget, spent=40, returned=5)) == (0, 45, 15)
        assert figures(await one(node, budget, spent=1)) == (0, 45, 14)

    async def test_a_grant_that_was_never_heard_is_free_again(self, bench: ValkeyBench) -> None:
        node, other, budget = await bench.node(), await bench.node(), Budget(key="a", capacity=100)
        bench.lose_next_answer(node)
        with pytest.raises(StoreUnavailable):
            await one(node, budget, wanted=80)
        assert (await one(other, budget)).free == 20
        await bench.mend(node)
        assert figures(await one(node, budget, wanted=30)) == (30, 70, 30)

    async def test_what_was_returned_unheard_is_not_taken_back(self, bench: ValkeyBench) -> None:
        """Others may have it by now; the node learns by `held` what is left to it."""
        node, other, budget = await bench.node(), await bench.node(), Budget(key="a", capacity=100)
        await one(node, budget, wanted=60)
        for returned in (40, 10):
            bench.lose_next_answer(node)
            with pytest.raises(StoreUnavailable):
                await one(node, budget, returned=returned)
            await bench.mend(node)
        assert figures(await one(other, budget, wanted=100)) == (80, 0, 80)
        assert figures(await one(node, budget, returned=40)) == (0, 0, 20)

    async def test_one_lost_answer_is_all_answers_of_its_exchange(self, bench: ValkeyBench) -> None:
        node = await bench.node()
        budgets = [Budget(key=key, capacity=100) for key in ("a", "b", "c")]
        told = [Exchange(budget=budget, spent=10, wanted=20) for budget in budgets]
        bench.lose_next_answer(node)
        with pytest.raises(StoreUnavailable):
            await node.exchange(told)
        await bench.mend(node)
        assert [figures(grant) for grant in await node.exchange(told)] == [(20, 70, 20)] * 3
