"""A server of the test's own, and stores that are closed at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from plugins.valkey_store.store import ValkeyStore
from plugins.valkey_store.url import read_url
from tests.support.valkey import ValkeyServer, valkey_server

Open = Callable[..., ValkeyStore]


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server(password="a-secret-of-ours") as server:
        yield server


@pytest.fixture
async def open_store() -> AsyncIterator[Open]:
    stores: list[ValkeyStore] = []

    def make(url: str, bound_seconds: float | None = None) -> ValkeyStore:
        given = {} if bound_seconds is None else {"bound_seconds": bound_seconds}
        stores.append(ValkeyStore(read_url(url), **given))
        return stores[-1]

    yield make
    for store in stores:
        await store.aclose()
