"""The database and the store that tests run against are real, apart from each other, and gone afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
import valkey

from tests.support.gateway_process import poll
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.valkey import ValkeyServer, valkey_server

ROOT = Path(__file__).resolve().parents[2]


def test_databases_are_apart(postgres: PostgresServer) -> None:
    with postgres.database() as one, postgres.database() as other:
        one.sql("CREATE TABLE things (id int)")
        assert other.sql("SELECT to_regclass('things') IS NULL") == "t"
        assert int(one.sql("SHOW server_version_num")) >= 180_000


async def test_postgres_wants_the_password(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_url, password="wrong")


async def test_one_database_can_have_an_outage(postgres: PostgresServer) -> None:
    with postgres.database() as database, postgres.database() as other:
        connection = await asyncpg.connect(database.url)
        database.refuse()
        with pytest.raises(asyncpg.PostgresConnectionError):
            await connection.execute("SELECT 1")
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await asyncpg.connect(database.url)
        assert other.sql("SELECT 1") == "1"
        database.accept()
        assert database.sql("SELECT 1") == "1"


def test_a_postgres_of_one_s_own_survives_a_crash() -> None:
    with postgres_server() as server:
        server.sql("CREATE TABLE things (id int); INSERT INTO things VALUES (7)")
        pid = server.pid
        server.kill()
        assert not psutil.pid_exists(pid)
        server.start()
        assert server.sql("SELECT id FROM things") == "7"
        pid = server.pid
    assert not psutil.pid_exists(pid)
    assert not server.folder.exists()


def test_the_store_is_empty_for_each_test(valkey_store: ValkeyServer) -> None:
    with valkey_store.client() as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
    valkey_store.flush()
    with valkey_store.client() as client:
        assert client.dbsize() == 0


def test_the_store_wants_the_password(valkey_store: ValkeyServer) -> None:
    with valkey.Valkey(port=valkey_store.port, password="wrong") as client, pytest.raises(valkey.AuthenticationError):
        client.ping()
    with valkey.from_url(valkey_store.url) as client:
        assert client.ping()


@pytest.mark.parametrize(("persistent", "left"), [(True, b"1"), (False, None)])
def test_a_store_that_crashed_comes_back_on_its_port(*, persistent: bool, left: bytes | None) -> None:
    with valkey_server(persistent=persistent) as server:
        port = server.port
        with server.client() as client:
            client.set("a", "1")
        server.kill()
        with server.client() as client, pytest.raises(valkey.ConnectionError):
            client.ping()
        server.start()
        assert server.port == port
        with server.client() as client:
            assert client.get("a") == left
        pid = server.pid
    assert not psutil.pid_exists(pid)


def test_a_store_can_hang() -> None:
    with valkey_server() as server:
        server.freeze()
        with valkey.Valkey(port=server.port, socket_timeout=0.05) as client, pytest.raises(valkey.TimeoutError):
            client.ping()
        server.thaw()
        with server.client() as client:
            assert client.ping()
        server.freeze()
        pid = server.pid
    assert not psutil.pid_exists(pid)


def test_options_reach_the_store() -> None:
    with valkey_server("cluster-enabled yes") as server, server.client() as client:
        assert client.info()["cluster_enabled"] == 1


def test_nothing_is_left_of_a_killed_test_run(tmp_path: Path) -> None:
    """A child dies with the process that started it, however that ends."""
    folder = tmp_path / "leavings"
    folder.mkdir()
    code = (
        f"import os, pathlib; from tests.support.child import Child; folder = pathlib.Path({str(folder)!r});"
        " print(Child(['/bin/sleep', '60'], folder / 'log', leavings=folder).pid, flush=True); os.abort()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode < 0
    pid = int(done.stdout)
    poll(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "it has ended")
    poll(lambda: not folder.exists(), "its folder is gone")
