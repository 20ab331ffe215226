from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.contracts.keys import generate_key, parse_key
from gateway.errors import GatewayError, InvalidRequest
from plugins.tenants.directory import Directory
from plugins.tenants.failures import Conflict
from plugins.tenants.model import TenantPatch
from plugins.tenants.printing import diff
from tests.unit.plugins.tenants.scene import ACTOR, NOW, Clock, Node, declaration, tenant_terms, terms

LIMIT = {"name": "minute", "dimension": "requests", "amount": 60, "every": "minute"}


def secret(key: str) -> dict[str, str]:
    parts = parse_key(key)
    assert parts is not None
    return {"id": parts.public_id, "sha256": parts.digest.hex()}


KEY = generate_key("declared0")

ACME: dict[str, Any] = {
    "name": "acme",
    "share": 2,
    "limits": [LIMIT],
    "models": ["k2", "a"],
    "metadata": {"contact": "desk"},
    "keys": [{"name": "ops", "scopes": ["admin:write", "admin:read"]}],
    "teams": [
        {"name": "search", "operations": ["chat"], "keys": [{"name": "ci", "expires_at": NOW + 9, **secret(KEY)}]}
    ],
}


async def test_what_is_declared_comes_into_being(directory: Directory, engine: AsyncEngine, clock: Clock) -> None:
    applied = await directory.apply(ACTOR, declaration(ACME))
    [made] = applied.made
    assert (made.tenant, made.team, made.name) == ("acme", None, "ops")
    assert made.key not in repr(made)
    node = Node(engine, clock)
    await node.refresh()
    admin, builds = node.knows(made.key), node.knows(KEY)
    assert admin is not None
    assert builds is not None
    assert admin.scopes == {"admin:read", "admin:write"}
    assert (builds.key_id, builds.tenant, builds.team, builds.models) == ("declared0", "acme", "search", {"k2", "a"})


async def test_the_same_again_changes_nothing(directory: Directory) -> None:
    await directory.apply(ACTOR, declaration(ACME))
    revision = (await directory.tenant("acme")).revision
    audited = await directory.audit()
    reordered = {**ACME, "models": ["a", "k2", "a"]}
    for said in (ACME, reordered):
        for prune in (False, True):
            again = await directory.apply(ACTOR, declaration(said), prune=prune)
            assert (again.changes, again.made) == ((), ())
    assert (await directory.tenant("acme")).revision == revision
    assert await directory.audit() == audited
    changed = await directory.apply(ACTOR, declaration({**ACME, "share": 3}))
    assert diff(changed.changes) == ["~ tenant acme\n    share: 2.0 → 3.0"]


async def test_a_dry_run_shows_the_same_changes_and_makes_none(directory: Directory) -> None:
    shown = await directory.apply(ACTOR, declaration(ACME), dry_run=True)
    assert shown.made == ()
    assert await directory.tenants() == []
    assert await directory.audit() == []
    assert diff(shown.changes) == [
        (
            '+ tenant acme\n    limits: [{"name":"minute","dimension":"requests","amount":60.0,"per…\n    models: ["a","k2"]\n'
            '    metadata: {"contact":"desk"}\n    share: 2.0'
        ),
        '+ team acme/search\n    operations: ["chat"]',
        "+ key acme/search/ci (declared0)\n    expires_at: - → 2027-01-15 08:00:09Z",
        '+ key acme/ops (new)\n    scopes: ["admin:read","admin:write"]',
    ]
    done = await directory.apply(ACTOR, declaration(ACME))
    assert [change.action for change in done.changes] == [change.action for change in shown.changes]
    assert [change.fields for change in done.changes] == [change.fields for change in shown.changes]


async def test_what_is_not_said_any_more_is_taken_back(directory: Directory) -> None:
    await directory.apply(ACTOR, declaration(ACME))
    plain = {"name": "acme", "teams": [{"name": "search"}]}
    applied = await directory.apply(ACTOR, declaration(plain))
    assert [change.subject for change in applied.changes] == ["acme", "acme/search"]
    tenant = await directory.tenant("acme")
    assert (tenant.limits, tenant.models, tenant.metadata, tenant.share) == ((), None, {}, 1.0)
    # Keys that it does not name stay as they are.
    assert {key.name: key.disabled_at for key in await directory.keys()} == {"ops": None, "ci": None}


async def test_what_a_command_has_disabled_stays_so_until_the_file_says_otherwise(directory: Directory) -> None:
    await directory.apply(ACTOR, declaration(ACME))
    await directory.change_tenant(ACTOR, "acme", TenantPatch(disabled=True))
    assert (await directory.apply(ACTOR, declaration(ACME))).changes == ()
    applied = await directory.apply(ACTOR, declaration({**ACME, "disabled": False}))
    assert diff(applied.changes) == ["~ tenant acme  enable\n    disabled: true → false"]


async def test_pruning_disables_what_is_not_named_and_revokes_nothing(directory: Directory) -> None:
    await directory.apply(ACTOR, declaration(ACME, {"name": "other", "keys": [{"name": "k"}]}))
    left = {**ACME, "keys": [], "teams": []}
    applied = await directory.apply(ACTOR, declaration(left), prune=True)
    done = [(change.action, change.subject.partition(" ")[0]) for change in applied.changes]
    # The key of the team falls with the team, and that of the tenant with the tenant.
    assert done == [("tenant.disable", "other"), ("team.disable", "acme/search"), ("key.disable", "acme/ops")]
    assert [key.revoked_at for key in await directory.keys()] == [None, None, None]
    assert (await directory.apply(ACTOR, declaration(left), prune=True)).changes == ()


async def test_a_declared_secret_that_changes_ends_the_old_one_at_once(
    directory: Directory, engine: AsyncEngine, clock: Clock
) -> None:
    await directory.apply(ACTOR, declaration(ACME))
    node = Node(engine, clock)
    await node.refresh()
    other = generate_key("declared0")
    [key] = ACME["teams"][0]["keys"]
    team = {**ACME["teams"][0], "keys": [{**key, **secret(other)}]}
    applied = await directory.apply(ACTOR, declaration({**ACME, "teams": [team]}))
    assert [change.action for change in applied.changes] == ["key.rotate"]
    await node.refresh()
    assert node.knows(other) is not None
    with pytest.raises(GatewayError, match="not valid"):
        node.knows(KEY)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (
            {"keys": [{"name": "x", **secret(generate_key("revoked0"))}]},
            Conflict,
            r"^tenants\[1\]\.keys\[0\]\.id.*revoked",
        ),
        (
            {"keys": [{"name": "x", **secret(generate_key("held0"))}]},
            Conflict,
            r"^tenants\[1\]\.keys\[0\]\.id: held0 is the id of the key third/held",
        ),
        (
            {"keys": [{"name": "x", **secret(KEY)}]},
            InvalidRequest,
            r"^tenants\[1\]\.keys\[0\]\.id: is the id of tenants\[0\]\.teams\[0\]\.keys\[0\] as well",
        ),
        (
            {"teams": [{"name": "t", "keys": [{"name": "taken", **secret(generate_key())}]}]},
            Conflict,
            r"^tenants\[1\]\.teams\[0\]\.keys\[0\]\.id: the key of this name is",
        ),
        ({"keys": [{"name": "x", "secret_env": "HOME"}]}, InvalidRequest, r"keys\[0\]: secret_env is for files alone"),
        ({"keys": [{"name": "x", "id": "abcd"}]}, InvalidRequest, r"keys\[0\]\.id: `id` and `sha256` go together"),
        ({"limits": [LIMIT, LIMIT]}, InvalidRequest, r"tenants\[1\]\.limits\[1\]\.name: 'minute' stands twice"),
    ],
)
async def test_one_thing_that_cannot_be_undoes_all(
    directory: Directory, said: dict[str, Any], error: type[GatewayError], message: str
) -> None:
    await directory.apply(
        ACTOR, declaration(ACME, {"name": "second", "teams": [{"name": "t", "keys": [{"name": "taken"}]}]})
    )
    others = [{"name": name, **secret(generate_key(f"{name}0"))} for name in ("revoked", "held")]
    await directory.apply(ACTOR, declaration({"name": "third", "keys": others}))
    await directory.revoke_key(ACTOR, "revoked0")
    before = (await directory.audit(), await directory.tenants())
    with pytest.raises(error, match=message):
        await directory.apply(ACTOR, declaration({**ACME, "share": 9}, {"name": "second", **said}))
    assert (await directory.audit(), await directory.tenants()) == before


async def test_what_the_api_made_can_be_declared_afterwards(directory: Directory) -> None:
    await directory.create_tenant(ACTOR, "acme", tenant_terms(share=2))
    await directory.create_key(ACTOR, ("acme", None), "ci", terms())
    applied = await directory.apply(ACTOR, declaration({"name": "acme", "share": 2, "keys": [{"name": "ci"}]}))
    assert applied.changes == ()


def test_a_declaration_is_bounded() -> None:
    with pytest.raises(msgspec.ValidationError):
        declaration({"name": "acme", "limits": [{**LIMIT, "name": f"l{number}"} for number in range(33)]})
