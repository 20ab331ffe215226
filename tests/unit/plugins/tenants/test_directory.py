from __future__ import annotations

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.contracts.keys import KeyParts, parse_key
from gateway.errors import GatewayError, InvalidRequest
from plugins.tenants.directory import Directory
from plugins.tenants.failures import Conflict, DatabaseUnavailable, NotFound
from plugins.tenants.model import Patch, TenantPatch, state_of
from plugins.tenants.tables import metadata
from tests.unit.plugins.tenants.scene import ACTOR, NOW, Clock, tenant_terms, terms

LIMIT = {"name": "minute", "dimension": "requests", "amount": 60, "every": "minute"}


def parts_of(key: str) -> KeyParts:
    parts = parse_key(key)
    assert parts is not None
    return parts


def ours(_: Any, name: str | None, kind: str, *rest: Any) -> bool:
    return kind != "table" or str(name).startswith("tenants_")


OURS = {"compare_type": True, "include_object": ours}


async def dump(engine: AsyncEngine) -> str:
    """All that the database holds, as text."""
    found = []
    async with engine.connect() as connection:
        for table in metadata.sorted_tables:
            found += [repr(tuple(row)) for row in await connection.execute(table.select())]
    return "\n".join(found)


async def test_the_revisions_end_at_the_tables(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=OURS), metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_what_is_written_is_read_again(directory: Directory) -> None:
    said = tenant_terms(
        limits=[LIMIT], models=["b", "a", "a"], operations=["chat"], scopes=["pin", "inference"],
        metadata={"contact": "desk 5"}, expires_at=NOW + 5, share=2.5, priority=-3,
    )  # fmt: skip
    made = await directory.create_tenant(ACTOR, "acme", said)
    assert made == await directory.tenant("acme")
    assert (made.limits, made.models, made.metadata) == (said.limits, ("a", "b"), {"contact": "desk 5"})
    assert (made.share, made.priority, made.created_at, made.expires_at) == (2.5, -3, NOW, NOW + 5)
    team = await directory.create_team(ACTOR, "acme", "search", terms(models=[]))
    assert (team.models, team.limits, team.scopes) == ((), (), None)
    assert await directory.teams("acme") == [team]


async def test_a_key_s_text_is_in_no_table(engine: AsyncEngine, directory: Directory) -> None:
    await directory.create_tenant(ACTOR, "acme", tenant_terms())
    key, first = await directory.create_key(ACTOR, ("acme", None), "ci", terms())
    _, second = await directory.rotate_key(ACTOR, key.id, 60)
    everything = await dump(engine)
    assert key.id in everything
    for text_ in (first, second):
        assert parts_of(text_).public_id == key.id
        assert parts_of(text_).secret not in everything
    assert first != second


async def test_the_audit_says_who_did_what_when_and_no_secret(directory: Directory, clock: Clock) -> None:
    await directory.create_tenant("ann", "acme", tenant_terms(share=2))
    clock.now += 10
    key, text_ = await directory.create_key("bob", ("acme", None), "ci", terms(metadata={"for": "builds"}))
    await directory.change_tenant("ann", "acme", TenantPatch(share=3.0, disabled=True))
    await directory.rotate_key("bob", key.id, 60)
    await directory.revoke_key("bob", key.id)
    entries = await directory.audit()
    assert [(entry.actor, entry.action, entry.at - NOW) for entry in entries] == [
        ("bob", "key.revoke", 10),
        ("bob", "key.rotate", 10),
        ("ann", "tenant.change", 10),
        ("bob", "key.create", 10),
        ("ann", "tenant.create", 0),
    ]
    assert entries[2].fields == {"share": (2.0, 3.0), "disabled": (False, True)}
    assert entries[3].fields == {"metadata": (None, {"for": "builds"})}
    assert entries[0].subject == f"acme/ci ({key.id})"
    parts = parts_of(text_)
    assert parts.secret not in repr(entries)
    assert parts.digest.hex() not in repr(entries)
    assert [entry.action for entry in await directory.audit("nobody")] == []
    assert [entry.id for entry in await directory.audit(before=entries[1].id, limit=2)] == [
        entries[2].id,
        entries[3].id,
    ]


async def test_lists_come_in_pieces(directory: Directory) -> None:
    for name in ("c", "a", "b"):
        await directory.create_tenant(ACTOR, name, tenant_terms())
    assert [tenant.name for tenant in await directory.tenants(limit=2)] == ["a", "b"]
    assert [tenant.name for tenant in await directory.tenants("b", 2)] == ["c"]


async def test_what_is_sent_changes_and_the_rest_stays(directory: Directory) -> None:
    await directory.create_tenant(ACTOR, "acme", tenant_terms(limits=[LIMIT], models=["a"], share=2))
    changed = await directory.change_tenant(ACTOR, "acme", TenantPatch(models=None))
    assert (changed.models, changed.share, len(changed.limits)) == (None, 2, 1)
    disabled = await directory.change_tenant(ACTOR, "acme", TenantPatch(disabled=True))
    assert (disabled.disabled_at, state_of(disabled, NOW)) == (NOW, "disabled")
    enabled = await directory.change_tenant(ACTOR, "acme", TenantPatch(disabled=False))
    assert (enabled.disabled_at, state_of(enabled, NOW)) == (None, "active")
    assert (await directory.change_tenant(ACTOR, "acme", TenantPatch(share=2.0))).revision == enabled.revision


async def test_a_revoked_key_stays_so(directory: Directory) -> None:
    await directory.create_tenant(ACTOR, "acme", tenant_terms())
    key, _ = await directory.create_key(ACTOR, ("acme", None), "ci", terms())
    revoked = await directory.revoke_key(ACTOR, key.id)
    assert await directory.revoke_key(ACTOR, key.id) == revoked
    for attempt in (
        directory.rotate_key(ACTOR, key.id, 0),
        directory.change_key(ACTOR, key.id, Patch(disabled=False)),
    ):
        with pytest.raises(Conflict, match="revoked, which is for ever"):
            await attempt
    again, _ = await directory.create_key(ACTOR, ("acme", None), "ci", terms())
    assert again.id != key.id


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        (lambda directory: directory.tenant("x"), NotFound, "no tenant 'x'"),
        (lambda directory: directory.change_tenant(ACTOR, "x", TenantPatch()), NotFound, "no tenant 'x'"),
        (lambda directory: directory.create_team(ACTOR, "x", "t", terms()), NotFound, "no tenant 'x'"),
        (lambda directory: directory.change_team(ACTOR, "acme", "t", Patch()), NotFound, "no team 'acme/t'"),
        (lambda directory: directory.create_key(ACTOR, ("acme", "t"), "k", terms()), NotFound, "no team 'acme/t'"),
        (lambda directory: directory.create_key(ACTOR, ("acme", None), "ci", terms()), Conflict, "a key 'ci' already"),
        (lambda directory: directory.rotate_key(ACTOR, "nobody", 0), NotFound, "no key 'nobody'"),
        (lambda directory: directory.rotate_key(ACTOR, "nobody", -1), InvalidRequest, "between nothing and a year"),
        (lambda directory: directory.create_tenant(ACTOR, "acme", tenant_terms()), Conflict, "'acme' already"),
        (
            lambda directory: directory.create_tenant(ACTOR, "y", tenant_terms(limits=[{**LIMIT, "every": None}])),
            InvalidRequest,
            r"^limits\[0\]\.every: missing",
        ),
    ],
)
async def test_what_cannot_be_is_refused_and_leaves_no_trace(
    directory: Directory, engine: AsyncEngine, attempt: Any, error: type[GatewayError], message: str
) -> None:
    await directory.create_tenant(ACTOR, "acme", tenant_terms())
    await directory.create_key(ACTOR, ("acme", None), "ci", terms())
    before = await dump(engine)
    with pytest.raises(error, match=message):
        await attempt(directory)
    assert await dump(engine) == before


async def test_writers_wait_for_each_other(directory: Directory) -> None:
    """Each change has a revision of its own, and what one saw free no other has taken in the meantime."""
    names = [f"t{number}" for number in range(8)]
    await asyncio.gather(*(directory.create_tenant(ACTOR, name, tenant_terms()) for name in names))
    revisions = [tenant.revision for tenant in await directory.tenants()]
    assert sorted(revisions) == list(range(1, 9))
    attempts = (directory.create_key(ACTOR, ("t0", None), "one", terms()) for _ in range(4))
    made = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(each).__name__ for each in made) == ["Conflict", "Conflict", "Conflict", "tuple"]


async def test_a_database_that_fails_is_one_error_and_says_nothing_to_clients(
    directory: Directory, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE tenants_tenant RENAME TO elsewhere"))
    for attempt in (directory.tenants(), directory.create_tenant(ACTOR, "acme", tenant_terms())):
        with pytest.raises(DatabaseUnavailable) as caught:
            await attempt
        assert "tenants_tenant" in caught.value.message
        assert caught.value.public_message == "The database cannot be reached now; nothing was changed."


async def test_whoever_reads_is_told_of_a_change(engine: AsyncEngine, clock: Clock) -> None:
    told: list[str] = []
    directory = Directory(engine, clock, lambda: told.append("changed"))
    await directory.create_tenant(ACTOR, "acme", tenant_terms())
    await directory.tenants()
    assert told == ["changed"]
