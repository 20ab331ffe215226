"""A node's knowledge of products: what it reads and when, and what it keeps where there is nothing to be read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from gateway.database import SqlDatabase
from policies.attribution.model_licence import tables
from policies.attribution.model_licence.directory import Directory
from policies.attribution.model_licence.history import ORIGIN, appending
from policies.attribution.model_licence.products import Snapshot
from policies.attribution.model_licence.refreshing import Known, Refreshing
from policies.attribution.model_licence.standing import Standing
from tests.unit.policies.attribution.model_licence.shop import ACTOR, NOW, Clock, members, new, patch, proof, size


class Followed:
    """A node with somebody who follows what it reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.snapshots: list[Snapshot] = []
        self.standing = Standing()
        self.standing.tell(self)
        self.known = Known()
        self.refreshing = Refreshing(engine, self.known, self.standing)
        self.followed = asyncio.Event()

    def follow(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        if snapshot.revision:
            self.followed.set()

    async def refresh(self) -> Snapshot:
        assert await self.refreshing.refresh()
        return self.standing.snapshot


@pytest.fixture
def node(engine: AsyncEngine) -> Followed:
    return Followed(engine)


async def test_a_change_elsewhere_is_published_once(node: Followed, directory: Directory) -> None:
    await node.refresh()
    before = len(node.snapshots)
    await directory.add(ACTOR, new())
    assert "shop" in (await node.refresh()).products
    await node.refresh()
    assert len(node.snapshots) == before + 1


async def test_a_snapshot_does_not_change_under_its_reader(node: Followed, directory: Directory) -> None:
    await directory.add(ACTOR, new())
    await directory.attest(ACTOR, "shop", size())
    first = await node.refresh()
    await directory.attest(ACTOR, "shop", size(monthly_active_users=9))
    await directory.assign(ACTOR, "shop", members({"key": "a"}))
    await directory.change(ACTOR, "shop", patch(owner="Another"))
    second = await node.refresh()
    assert (len(first.attestations["shop"]), first.of_keys, first.products["shop"].owner) == (1, {}, "Shop team")
    assert (len(second.attestations["shop"]), second.of_keys, second.revision) == (2, {"a": "shop"}, 5)


async def test_what_nothing_was_said_of_stays_the_same_object(node: Followed, directory: Directory) -> None:
    """By this a policy sees what to make anew: all else of many products it must leave alone."""
    for name in ("shop", "desk"):
        await directory.add(ACTOR, new(name))
        await directory.attest(ACTOR, name, size())
        await directory.show(ACTOR, name, proof())
    first = await node.refresh()
    await directory.attest(ACTOR, "shop", size(monthly_active_users=9))
    second = await node.refresh()
    assert second.attestations["shop"] is not first.attestations["shop"]
    assert second.attestations["desk"] is first.attestations["desk"]
    assert second.evidence["desk"] is first.evidence["desk"]


async def test_reading_step_by_step_comes_to_what_reading_at_once_does(
    node: Followed, directory: Directory, engine: AsyncEngine
) -> None:
    await directory.add(ACTOR, new())
    for step in (members({"key": "a"}), members({"tenant": "t"}), members({"key": "a"}, remove=True)):
        await directory.assign(ACTOR, "shop", step)
        await node.refresh()
    assert node.standing.snapshot == await Followed(engine).refresh()
    assert node.known.broken is None


async def test_what_a_node_changes_holds_there_at_once(node: Followed, engine: AsyncEngine, clock: Clock) -> None:
    await Directory(engine, node.refreshing, clock=clock).add(ACTOR, new())
    assert "shop" in node.standing.snapshot.products


async def test_another_database_is_read_from_its_start(
    node: Followed, directory: Directory, engine: AsyncEngine
) -> None:
    """As after an older copy was restored."""
    await directory.add(ACTOR, new())
    await directory.add(ACTOR, new("search"))
    await node.refresh()
    async with engine.begin() as connection:
        drop = "DROP TRIGGER model_licence_history_delete"
        if engine.dialect.name == "postgresql":
            drop = "DROP TRIGGER model_licence_history_refuse ON model_licence_history"
        await connection.execute(text(drop))
        await connection.execute(text("DELETE FROM model_licence_history"))
        await connection.execute(text(f"UPDATE model_licence_head SET sequence = 0, digest = '{ORIGIN}'"))
    assert (await node.refresh()).products == {}
    other = Directory(engine)
    await other.add(ACTOR, new("a"))
    await other.add(ACTOR, new("b"))
    assert sorted((await node.refresh()).products) == ["a", "b"]
    assert node.known.broken is None


async def test_a_row_that_was_tampered_with_is_told_of_once(
    node: Followed, directory: Directory, engine: AsyncEngine
) -> None:
    await directory.add(ACTOR, new())
    await directory.attest(ACTOR, "shop", size(monthly_active_users=200_000_000))
    async with engine.begin() as connection:
        drop = "DROP TRIGGER model_licence_history_update"
        if engine.dialect.name == "postgresql":
            drop = "DROP TRIGGER model_licence_history_refuse ON model_licence_history"
        await connection.execute(text(drop))
        smaller = "UPDATE model_licence_history SET content = replace(content, '200000000', '2') WHERE sequence = 2"
        await connection.execute(text(smaller))
    with capture_logs() as logs:
        await node.refresh()
        await node.refresh()
    assert node.known.broken == 2
    assert [entry["row"] for entry in logs if entry["log_level"] == "error"] == [2]


async def test_a_row_of_a_later_version_leaves_what_is_known(
    node: Followed, directory: Directory, engine: AsyncEngine
) -> None:
    await directory.add(ACTOR, new())
    before = await node.refresh()
    async with appending(engine, ACTOR, NOW) as edit:
        await edit.append("of another version", "product:shop", "shop", "{}")
    with capture_logs() as logs:
        assert not await node.refreshing.refresh()
        assert not await node.refreshing.refresh()
    assert node.standing.snapshot is before
    assert [entry["log_level"] for entry in logs] == ["warning"]


async def test_a_lost_database_leaves_what_is_known(postgres_database: Any, clock: Clock) -> None:
    database = SqlDatabase(postgres_database.url)
    await database.prepare([tables.schema], upgrade=True)
    try:
        node = Followed(database.engine)
        directory = Directory(database.engine, node.refreshing, clock=clock)
        await directory.add(ACTOR, new())
        postgres_database.refuse()
        with capture_logs() as logs:
            assert not await node.refreshing.refresh()
            assert not await node.refreshing.refresh()
            assert "shop" in node.standing.snapshot.products
            postgres_database.accept()
            assert await node.refreshing.refresh()
        assert [entry["event"] for entry in logs] == [
            "products cannot be read; what is known of them still holds", "products can be read again",
        ]  # fmt: skip
    finally:
        await database.aclose()


async def test_it_runs_until_it_is_cancelled_and_looks_when_it_is_told(node: Followed, directory: Directory) -> None:
    await directory.add(ACTOR, new())
    running = asyncio.create_task(node.refreshing.run(poll_seconds=3_600))
    async with asyncio.timeout(30):
        await node.followed.wait()
        node.followed.clear()
        await directory.attest(ACTOR, "shop", size())
        node.known.changed.set()
        await node.followed.wait()
    assert "shop" in node.standing.snapshot.attestations
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
