"""What a node reads anew, and what it does while the database is lost."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from gateway.database import SqlDatabase
from gateway.errors import GatewayError
from plugins.tenants.directory import Directory
from plugins.tenants.failures import DatabaseUnavailable, KeysUnknown
from plugins.tenants.model import Patch
from plugins.tenants.refreshing import Refreshing
from plugins.tenants.service import Tenants, TenantsSettings
from plugins.tenants.tables import schema
from tests.support.postgres import PostgresDatabase
from tests.unit.plugins.tenants.scene import ACTOR, Clock, Node, id_of, refused, tenant_terms, terms


async def test_only_what_has_changed_is_read(engine: AsyncEngine, directory: Directory, node: Node, key: str) -> None:
    await node.refresh()
    first = node.snapshot.entries[id_of(key)]
    _, other = await directory.create_key(ACTOR, ("acme", None), "second", terms())
    await node.refresh()
    assert node.snapshot.entries[id_of(key)] is first
    assert node.knows(other) is not None


async def test_an_older_copy_of_the_database_is_read_whole(
    engine: AsyncEngine, directory: Directory, node: Node, key: str
) -> None:
    _, later = await directory.create_key(ACTOR, ("acme", None), "later", terms())
    await node.refresh()
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE tenants_revision SET value = 1"))
        await connection.execute(text(f"DELETE FROM tenants_key WHERE id = '{id_of(later)}'"))
    await node.refresh()
    assert refused(node, later) == "This API key is not valid."
    assert node.knows(key) is not None


async def test_a_lost_database_is_said_once_and_changes_nothing(
    engine: AsyncEngine, node: Node, key: str, clock: Clock
) -> None:
    await node.refresh()
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE tenants_revision RENAME TO elsewhere"))
    with capture_logs() as logs:
        for _ in range(3):
            clock.now += 1000
            assert not await node.refresh()
            assert node.knows(key) is not None
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE elsewhere RENAME TO tenants_revision"))
        assert await node.refresh()
    told = [entry["event"] for entry in logs]
    assert told == ["the database is lost; what is known of keys still holds", "the database is back"]


async def test_an_outage_of_postgresql_is_survived(postgres_database: PostgresDatabase, clock: Clock) -> None:
    database = SqlDatabase(postgres_database.url)
    await database.prepare([schema], upgrade=True)
    node, directory = Node(database.engine, clock), Directory(database.engine, clock)
    await directory.create_tenant(ACTOR, "acme", tenant_terms())
    _, key = await directory.create_key(ACTOR, ("acme", None), "ci", terms())
    assert await node.refresh()
    postgres_database.refuse()
    for _ in range(2):
        assert not await node.refresh()
        assert node.knows(key) is not None
    with pytest.raises(DatabaseUnavailable):
        await directory.tenants()
    postgres_database.accept()
    assert await node.refresh()
    await directory.revoke_key(ACTOR, id_of(key))
    await node.refresh()
    assert refused(node, key) == "This API key is not valid."
    await database.aclose()


async def test_after_stale_seconds_without_the_database_all_keys_are_refused(
    engine: AsyncEngine, key: str, clock: Clock
) -> None:
    node = Node(engine, clock, stale_seconds=30)
    await node.refresh()
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE tenants_revision RENAME TO elsewhere"))
    clock.now += 30
    await node.refresh()
    assert node.knows(key) is not None
    clock.now += 1
    assert node.tenants.not_ready is not None
    with pytest.raises(KeysUnknown):
        node.knows(key)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE elsewhere RENAME TO tenants_revision"))
    await node.refresh()
    assert node.knows(key) is not None


async def test_a_row_that_cannot_be_read_shuts_out_its_keys_and_no_others(
    engine: AsyncEngine, directory: Directory, node: Node, key: str
) -> None:
    await directory.create_tenant(ACTOR, "other", tenant_terms())
    _, others = await directory.create_key(ACTOR, ("other", None), "k", terms())
    await node.refresh()
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE tenants_revision SET value = 99"))
        await connection.execute(text("UPDATE tenants_team SET revision = 99, operations = '[\"fly\"]'"))
    with capture_logs() as logs:
        await node.refresh()
    assert "team acme/search" in logs[0]["reason"]
    assert refused(node, key) == "This API key is not valid."
    assert node.knows(others) is not None


async def test_two_that_read_at_once_do_not_bring_back_what_is_gone(
    directory: Directory, engine: AsyncEngine, clock: Clock, key: str
) -> None:
    """As while a reload goes on: the old runtime's service and the new one's share what they know."""
    node = Node(engine, clock)
    other = Refreshing(engine, node.snapshot, clock)
    await directory.revoke_key(ACTOR, id_of(key))
    await asyncio.gather(*(reader.refresh() for reader in (node.refreshing, other) * 5))
    with pytest.raises(GatewayError):
        node.knows(key)


async def test_a_model_s_other_names_are_taken_when_the_service_starts(
    engine: AsyncEngine, directory: Directory, key: str, clock: Clock
) -> None:
    """And not before: a configuration that is refused is built, and never started."""
    await directory.change_key(ACTOR, id_of(key), Patch(models=("k2", "other")))
    node = Node(engine, clock)
    await node.refresh()
    found = node.knows(key)
    assert found is not None
    assert found.models == {"k2", "other"}
    renamed = Tenants(TenantsSettings(), directory, node.refreshing, aliases={"k2": "kimi-k2"})
    service = asyncio.create_task(renamed.run())
    await asyncio.sleep(0)
    found = node.knows(key)
    assert found is not None
    assert found.models == {"kimi-k2", "other"}
    service.cancel()
    await asyncio.gather(service, return_exceptions=True)


async def test_a_change_on_this_node_is_read_without_waiting_for_its_turn(
    engine: AsyncEngine, directory: Directory, node: Node, key: str, clock: Clock
) -> None:
    telling = Directory(engine, clock, node.snapshot.changed.set)
    read = asyncio.Event()
    really = node.refreshing.refresh

    async def refresh() -> bool:
        done = await really()
        read.set()
        return done

    node.refreshing.refresh = refresh  # type: ignore[method-assign]
    service = asyncio.create_task(node.refreshing.run(poll_seconds=3600))
    await read.wait()
    read.clear()
    await telling.revoke_key(ACTOR, id_of(key))
    await read.wait()
    assert refused(node, key) == "This API key is not valid."
    service.cancel()
    await asyncio.gather(service, return_exceptions=True)


async def test_it_looks_again_by_itself(engine: AsyncEngine, directory: Directory, node: Node, key: str) -> None:
    """As often as it is told; by default so often that a second is enough."""
    assert TenantsSettings().poll_seconds <= 0.5
    read = asyncio.Semaphore(0)
    really = node.refreshing.refresh

    async def refresh() -> bool:
        done = await really()
        read.release()
        return done

    node.refreshing.refresh = refresh  # type: ignore[method-assign]
    service = asyncio.create_task(node.refreshing.run(poll_seconds=0.01))
    await read.acquire()
    await directory.revoke_key(ACTOR, id_of(key))
    for _ in range(2):  # one may have begun before the revocation
        await read.acquire()
    assert refused(node, key) == "This API key is not valid."
    service.cancel()
    await asyncio.gather(service, return_exceptions=True)
