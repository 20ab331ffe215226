"""What happens when the server does not do what it should: always an answer or StoreUnavailable within 50 ms, and no restart."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest
import uvloop

from gateway import Budget, Histogram, StoreUnavailable
from plugins.valkey_store.store import ValkeyStore
from plugins.valkey_store.url import read_url
from tests.support.budget_store_cases import figures, one
from tests.support.valkey import ValkeyServer, valkey_server
from tests.unit.plugins.valkey_store.benches import PATIENT_SECONDS
from tests.unit.plugins.valkey_store.conftest import Open

BUDGET = Budget(key="a", capacity=100)
CONTRACT_SECONDS = 0.05
ATTEMPTS = 40


async def refused_seconds(store: ValkeyStore) -> float:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await one(store, BUDGET, wanted=1)
    return time.monotonic() - started


async def assert_bounded(attempt: Callable[[], ValkeyStore]) -> None:
    """A busy machine makes any one of them late; a store that waits too long makes all of them late."""
    taken = []
    for _ in range(ATTEMPTS):
        taken.append(await refused_seconds(attempt()))
        if taken[-1] < CONTRACT_SECONDS:
            return
    raise AssertionError(f"never within {CONTRACT_SECONDS} s: {min(taken)} s at best")


async def test_a_server_that_is_killed_is_back_without_our_doing_and_has_forgotten(
    server: ValkeyServer, open_store: Open
) -> None:
    store = open_store(server.url, PATIENT_SECONDS)
    await one(store, BUDGET, wanted=60)
    server.kill()
    with pytest.raises(StoreUnavailable):
        await one(store, BUDGET, spent=10)
    await assert_bounded(lambda: store)
    server.start()
    await store.connected()
    assert figures(await one(store, BUDGET, spent=10, wanted=20)) == (20, 70, 20)


async def test_a_server_that_keeps_its_data_goes_on_where_it_was(open_store: Open) -> None:
    with valkey_server(persistent=True) as server:
        store = open_store(server.url, PATIENT_SECONDS)
        await one(store, BUDGET, wanted=60)
        await one(store, BUDGET, spent=10)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await one(store, BUDGET, spent=10)
        server.start()
        await store.connected()
        assert figures(await one(store, BUDGET, spent=10, wanted=20)) == (20, 20, 60)


async def test_a_server_that_is_not_there_takes_no_time(open_store: Open, server: ValkeyServer) -> None:
    server.kill()
    await assert_bounded(lambda: open_store(server.url))


async def test_a_server_that_hangs_is_waited_for_once(server: ValkeyServer, open_store: Open) -> None:
    store = open_store(server.url)
    await store.connected()
    server.freeze()
    try:
        await assert_bounded(lambda: store)
        # It is known to hang now: nobody waits for it any more, however many ask.
        started = time.monotonic()
        for _ in range(100):
            await refused_seconds(store)
        assert time.monotonic() - started < 100 * CONTRACT_SECONDS / 2
    finally:
        server.thaw()
    await store.connected()
    assert (await granted(store, wanted=1)) == 1


async def test_what_a_hanging_server_does_when_it_goes_on_counts_once(server: ValkeyServer, open_store: Open) -> None:
    """Its socket still holds what we gave up on, and told again on another connection."""
    store = open_store(server.url)
    assert await granted(store, wanted=50) == 50
    server.freeze()
    await refused_seconds_of(store, spent=20)
    server.thaw()
    await store.connected()
    patient = await until_told(store, spent=30)
    assert (patient.free, patient.held) == (50, 20)
    assert (await until_told(store)).free == 50


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_process_that_stood_still_finds_the_answer_that_came_meanwhile(
    run: Callable[..., None], server: ValkeyServer
) -> None:
    """It was not the server that was late."""

    async def stand_still() -> None:
        store = ValkeyStore(read_url(server.url), bound_seconds=0.02)
        await store.connected()
        loop, (knock, door) = asyncio.get_running_loop(), socket.socketpair()

        def stand() -> None:
            loop.remove_reader(door)
            with server.client() as client:
                client.blpop("nothing", timeout=0.1)  # the server goes on, the loop does not

        # In the middle of reading: some loops look at their timers next, before they read on.
        loop.add_reader(door, stand)
        exchange = asyncio.create_task(one(store, BUDGET, wanted=1))
        await asyncio.sleep(0)
        knock.send(b"!")
        assert (await exchange).granted == 1
        await store.aclose()
        knock.close()
        door.close()

    run(stand_still())


async def test_a_connection_that_is_never_made_is_not_waited_for(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a name server that does not answer, or packets that vanish."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    await assert_bounded(lambda: open_store("valkey://nowhere.test:6379"))


async def test_a_server_that_accepts_and_says_nothing_is_not_waited_for(open_store: Open) -> None:
    silence = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await assert_bounded(lambda: open_store(f"valkey://127.0.0.1:{port}"))
    silence.set()
    server.close()


async def granted(store: ValkeyStore, **what: int) -> int:
    return (await until_told(store, **what)).granted


async def until_told(store: ValkeyStore, **what: int):  # noqa: ANN201
    """Tell it again and again until it is heard: with the bound of 50 ms, a busy machine may take several."""
    for _ in range(ATTEMPTS):
        await store.connected()
        try:
            return await one(store, BUDGET, **what)
        except StoreUnavailable:
            continue
    raise AssertionError("never heard")


async def refused_seconds_of(store: ValkeyStore, **what: int) -> None:
    with pytest.raises(StoreUnavailable):
        await one(store, BUDGET, **what)


async def test_how_exchanges_fared_is_shown(server: ValkeyServer, open_store: Open) -> None:
    def shown() -> tuple[int, int, float]:
        """Exchanges that were answered, those that were not, and whether there is a connection."""
        times, connected = store.metrics()
        yes, no = (times.samples[each,] for each in ("yes", "no"))
        assert isinstance(yes, Histogram)
        assert isinstance(no, Histogram)
        is_connected = connected.samples[()]
        assert isinstance(is_connected, int)
        return sum(yes.counts), sum(no.counts), is_connected

    store = open_store(server.url, PATIENT_SECONDS)
    assert shown() == (0, 0, 0)
    await one(store, BUDGET, wanted=60)
    assert shown() == (1, 0, 1)
    server.kill()
    await refused_seconds(store)
    assert shown() == (1, 1, 0)
