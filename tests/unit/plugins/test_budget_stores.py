"""The store of one process does what every store must; `valkey_store/test_semantics.py` says the same of the shared one."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from gateway import BudgetStore
from plugins.memory_store import Accounts, MemoryStore
from tests.support.budget_store_cases import START, Bench, BudgetStoreCases

LEASE_SECONDS = 10.0


class MemoryBench:
    """Several nodes in one process."""

    lease_seconds = LEASE_SECONDS
    most_nodes = 8

    def __init__(self) -> None:
        self.now = START
        self._accounts = Accounts(lambda: self.now, LEASE_SECONDS)
        self._numbers = itertools.count()

    async def node(self) -> BudgetStore:
        return MemoryStore(self._accounts, f"node {next(self._numbers)}")

    def lose_next_answer(self, node: BudgetStore) -> bool:
        return False

    async def mend(self, node: BudgetStore) -> None:
        """Nothing is ever lost."""

    async def aclose(self) -> None:
        """Nothing to close."""


class TestMemoryStore(BudgetStoreCases):
    @pytest.fixture
    def open_bench(self) -> Callable[[], Bench]:
        return MemoryBench
