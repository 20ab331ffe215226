"""Servers that answer, but not what they should: each is told apart in the log, and found again when it has been mended."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway import Budget, StoreUnavailable
from tests.support.budget_store_cases import figures, one
from tests.support.valkey import ValkeyServer
from tests.unit.plugins.valkey_store.benches import PATIENT_SECONDS
from tests.unit.plugins.valkey_store.conftest import Open

BUDGET = Budget(key="a", capacity=100)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 50, b"$5\r\nab", b"*-7\r\n", b"\x00"]
)
async def test_a_server_of_another_kind_is_refused(answer: bytes, open_store: Open) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    store = open_store(f"valkey://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(StoreUnavailable):
        await one(store, BUDGET, wanted=1)
    await store.aclose()
    server.close()


async def test_a_wrong_password_is_said_but_never_shown(server: ValkeyServer, open_store: Open) -> None:
    with capture_logs() as logs:
        store = open_store(server.url.replace("a-secret", "not-the-secret"), PATIENT_SECONDS)
        with pytest.raises(StoreUnavailable, match="refuses the password") as caught:
            await one(store, BUDGET, wanted=1)
    assert [entry["event"] for entry in logs] == ["budget store is lost"]
    assert "secret" not in str(caught.value) + str(logs) + repr(store) + repr(vars(store))


async def test_a_missing_password_is_said(server: ValkeyServer, open_store: Open) -> None:
    store = open_store(f"valkey://127.0.0.1:{server.port}", PATIENT_SECONDS)
    with pytest.raises(StoreUnavailable, match="NOAUTH"):
        await one(store, BUDGET, wanted=1)


async def test_a_server_without_memory_refuses_until_it_has_some(server: ValkeyServer, open_store: Open) -> None:
    store = open_store(server.url, PATIENT_SECONDS)
    with server.client() as client:
        client.config_set("maxmemory", 1)
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="OOM"):
                    await one(store, BUDGET, wanted=1)
        assert [entry["error"] for entry in logs if "error" in entry] == ["OOM"]
        client.config_set("maxmemory", 0)
    assert figures(await one(store, BUDGET, wanted=1)) == (1, 99, 1)


async def test_a_server_that_may_forget_is_warned_of(server: ValkeyServer, open_store: Open) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    with capture_logs() as logs:
        await open_store(server.url, PATIENT_SECONDS).connected()
    assert [entry["policy"] for entry in logs] == ["allkeys-lru"]


async def test_a_server_that_has_forgotten_the_script_gets_it_again(server: ValkeyServer, open_store: Open) -> None:
    store = open_store(server.url, PATIENT_SECONDS)
    await one(store, BUDGET, wanted=60)
    with server.client() as client:
        client.script_flush()
        assert figures(await one(store, BUDGET, spent=10)) == (0, 40, 50)
        client.config_resetstat()
        await one(store, BUDGET)
        assert client.info("commandstats").keys() >= {"cmdstat_evalsha"}
        assert "cmdstat_eval" not in client.info("commandstats")


async def test_a_server_that_became_a_replica_is_left_and_found_again(server: ValkeyServer, open_store: Open) -> None:
    store = open_store(server.url, PATIENT_SECONDS)
    await one(store, BUDGET, wanted=60)
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(StoreUnavailable, match="READONLY"):
            await one(store, BUDGET)
        client.replicaof("no", "one")
    await store.connected()
    assert (await one(store, BUDGET)).held == 60


async def test_a_budget_that_someone_else_has_overwritten_is_refused(server: ValkeyServer, open_store: Open) -> None:
    store = open_store(server.url, PATIENT_SECONDS)
    with server.client() as client:
        client.set("moegate:budget:{a}", "not a hash")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await one(store, BUDGET, wanted=1)
    assert (await one(store, Budget(key="b", capacity=3), wanted=1)).granted == 1


async def test_a_closed_store_connects_no_more(server: ValkeyServer, open_store: Open) -> None:
    store = open_store(server.url, PATIENT_SECONDS)
    await one(store, BUDGET, wanted=1)
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await one(store, BUDGET, wanted=1)


async def test_a_user_who_may_do_nothing_but_run_scripts_on_our_keys(server: ValkeyServer, open_store: Open) -> None:
    with server.client() as client:
        rules = [
            "reset",
            "on",
            ">pass",
            "~moegate:*",
            "+evalsha",
            "+eval",
            "+hgetall",
            "+hset",
            "+hdel",
            "+pexpire",
            "+time",
        ]
        client.execute_command("ACL", "SETUSER", "gateway", *rules)
    store = open_store(f"valkey://gateway:pass@127.0.0.1:{server.port}", PATIENT_SECONDS)
    assert figures(await one(store, BUDGET, wanted=7)) == (7, 93, 7)
