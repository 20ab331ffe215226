"""Stores on a real valkey-server, with a clock that tests set and, if asked for, a line that loses answers."""

from __future__ import annotations

import itertools

import msgspec

from gateway import BudgetStore
from plugins.valkey_store.store import ValkeyStore
from plugins.valkey_store.url import ServerUrl, read_url
from tests.support.budget_store_cases import START
from tests.support.losing_proxy import LosingProxy
from tests.support.valkey import ValkeyServer

PATIENT_SECONDS = 20.0
"""For what is not about time: a busy machine fails no test."""

_numbers = itertools.count()


class ValkeyBench:
    """Budgets of its own on a server that others use too."""

    most_nodes = 8

    def __init__(self, server: ValkeyServer, *, lossy: bool = False) -> None:
        self.now = START
        self.url: ServerUrl = msgspec.structs.replace(read_url(server.url), prefix=f"bench-{next(_numbers)}")
        self.lease_seconds = self.url.lease_seconds
        self._lossy = lossy
        self._nodes: dict[int, tuple[ValkeyStore, LosingProxy | None]] = {}

    async def node(self) -> ValkeyStore:
        url, proxy = self.url, None
        if self._lossy:
            proxy = LosingProxy(url.port)
            await proxy.start()
            url = msgspec.structs.replace(url, port=proxy.port)
        store = ValkeyStore(url, bound_seconds=PATIENT_SECONDS, now=lambda: self.now)
        self._nodes[id(store)] = store, proxy
        await store.connected()
        return store

    def lose_next_answer(self, node: BudgetStore) -> bool:
        _, proxy = self._nodes[id(node)]
        if proxy is None:
            return False
        proxy.losing = True
        return True

    async def mend(self, node: BudgetStore) -> None:
        await self._nodes[id(node)][0].connected()

    async def aclose(self) -> None:
        for store, proxy in self._nodes.values():
            await store.aclose()
            if proxy is not None:
                await proxy.aclose()
