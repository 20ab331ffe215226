"""Callers whom another plugin knows get what their tenant and team are given, at once and for as long as it holds."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Dimension, Operation, Principal, Subject, TenantDirectory
from gateway.errors import Unauthenticated
from plugins.tenants import callers
from plugins.tenants.directory import Directory
from plugins.tenants.failures import KeysUnknown
from plugins.tenants.model import Patch, TenantPatch
from tests.unit.plugins.tenants.scene import ACTOR, NOW, Clock, Node, tenant_terms, terms

LIMIT = {"name": "few", "dimension": "requests", "amount": 5, "every": "minute"}
ANN = Principal("oidc-ann", "ann", "acme", "search", scopes=frozenset({"inference", "pin"}))


@pytest.fixture
async def known(directory: Directory, node: Node) -> Node:
    """A node that has read a tenant with a team."""
    said: dict[str, Any] = {"limits": [LIMIT], "models": ["kimi-k2", "other"], "scopes": ["inference", "admin:read"]}
    await directory.create_tenant(
        ACTOR, "acme", tenant_terms(**said, share=3, priority=7, metadata={"desk": "5", "floor": "1"})
    )
    await directory.create_team(
        ACTOR, "acme", "search", terms(limits=[LIMIT], models=["other"], operations=["chat"], metadata={"floor": "2"})
    )
    await node.refresh()
    return node


def refused(node: Node, caller: Principal = ANN) -> str:
    with pytest.raises(Unauthenticated) as caught:
        node.tenants.entitled(caller)
    return caught.value.message


async def test_a_caller_gets_what_its_tenant_and_its_team_give(known: Node) -> None:
    assert isinstance(known.tenants, TenantDirectory)
    found = known.tenants.entitled(ANN)
    assert [(limit.name, limit.per) for limit in found.limits] == [
        ("team.few", (Subject.TENANT, Subject.TEAM)),
        ("tenant.few", (Subject.TENANT,)),
    ]
    assert (found.models, found.operations) == (frozenset({"other"}), frozenset({Operation.CHAT}))
    assert found.scopes == {"inference"}
    assert (found.share, found.priority, found.metadata) == (3, 7, {"desk": "5", "floor": "2"})
    assert (found.key_id, found.key_name, found.tenant, found.team) == ("oidc-ann", "ann", "acme", "search")


@pytest.mark.parametrize("team", [None, "unknown"])
async def test_without_a_team_that_is_known_there_is_the_tenant_s_part(known: Node, team: str | None) -> None:
    found = known.tenants.entitled(Principal("oidc-bob", "bob", "acme", team, models=frozenset({"other", "third"})))
    assert [limit.name for limit in found.limits] == ["tenant.few"]
    assert found.models == {"other"}
    assert found.team == team


async def test_what_it_has_of_its_own_stays(known: Node) -> None:
    own = known.tenants.entitled(ANN).limits[0]
    caller = Principal("oidc-ann", "ann", "acme", limits=(own,), metadata={"desk": "6"})
    found = known.tenants.entitled(caller)
    assert [limit.name for limit in found.limits] == ["team.few", "tenant.few"]
    assert found.metadata == {"desk": "6", "floor": "1"}
    assert own.dimension is Dimension.REQUESTS


async def test_a_tenant_that_is_not_there_gives_nothing(known: Node) -> None:
    caller = Principal("oidc-eve", "eve", "elsewhere")
    assert known.tenants.entitled(caller) is caller


async def test_a_caller_is_the_same_object_until_something_changes(known: Node, directory: Directory) -> None:
    first = known.tenants.entitled(ANN)
    assert known.tenants.entitled(ANN) is first
    other_token = Principal("oidc-ann", "ann", "acme", "search")
    assert known.tenants.entitled(other_token).scopes == {"inference"}
    assert known.tenants.entitled(ANN) is first
    await directory.change_tenant(ACTOR, "acme", TenantPatch(share=9))
    await known.refresh()
    assert known.tenants.entitled(ANN).share == 9


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda directory: directory.change_tenant(ACTOR, "acme", TenantPatch(disabled=True)), "tenant is disabled"),
        (lambda directory: directory.change_team(ACTOR, "acme", "search", Patch(disabled=True)), "team is disabled"),
        (lambda directory: directory.change_team(ACTOR, "acme", "search", Patch(expires_at=NOW)), "has expired"),
    ],
)
async def test_who_is_let_in_no_more(known: Node, directory: Directory, what: Any, says: str) -> None:
    assert known.tenants.entitled(ANN) is not ANN
    await what(directory)
    await known.refresh()
    assert says in refused(known)


async def test_a_tenant_ends_by_itself(known: Node, directory: Directory, clock: Clock) -> None:
    await directory.change_tenant(ACTOR, "acme", TenantPatch(expires_at=NOW + 10))
    await known.refresh()
    clock.now = NOW + 9.9
    assert known.tenants.entitled(ANN) is known.tenants.entitled(ANN)
    clock.now = NOW + 10
    assert "expired" in refused(known)


async def test_nobody_is_let_in_without_limits_because_they_are_not_known(
    node: Node, directory: Directory, engine: AsyncEngine
) -> None:
    with pytest.raises(KeysUnknown):
        node.tenants.entitled(ANN)
    await directory.create_tenant(ACTOR, "acme", tenant_terms())
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE tenants_tenant SET limits = '5'"))
    await node.refresh()
    assert "cannot be read" in refused(node)


async def test_so_many_callers_are_remembered(known: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MOST_CALLERS", 3)
    many = [Principal(f"oidc-{number}", "x", "acme") for number in range(10)]
    made = [known.tenants.entitled(each) for each in many]
    assert known.tenants.entitled(many[-1]) is made[-1]
    again = known.tenants.entitled(many[0])
    assert again is not made[0]
    assert again == made[0]
