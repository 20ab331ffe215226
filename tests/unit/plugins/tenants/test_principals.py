from __future__ import annotations

from typing import Any

import pytest

from gateway import Principal, Subject
from plugins.tenants.model import Key, Team, Tenant
from plugins.tenants.principals import of_key, of_team, of_tenant
from tests.unit.plugins.tenants.scene import NOW, tenant_terms, terms

KEPT: dict[str, Any] = {"created_at": NOW, "revision": 1}
Said = dict[str, Any]


def fields(said: Any) -> Said:
    return {field: getattr(said, field) for field in said.__struct_fields__}


def built(
    key: Said, team: Said | None = None, tenant: Said | None = None, aliases: dict[str, str] | None = None
) -> tuple[Principal, float, str | None]:
    aliases = aliases or {}
    level = of_tenant(Tenant(name="acme", **KEPT, **fields(tenant_terms(**(tenant or {})))), aliases)
    if team is not None:
        level = of_team(Team(tenant="acme", name="search", **KEPT, **fields(terms(**team))), level, aliases)
    whose = "search" if team is not None else None
    kept = Key(id="abcd", name="ci", tenant="acme", team=whose, secret_at=NOW, **KEPT, **fields(terms(**key)))
    return of_key(kept, level, aliases)


def principal(key: Said, team: Said | None = None, tenant: Said | None = None, **more: Any) -> Principal:
    return built(key, team, tenant, **more)[0]


def limit(name: str, *per: str) -> Said:
    return {"name": name, "dimension": "requests", "amount": 1, "every": "day", **({"per": per} if per else {})}


def test_a_key_of_which_nothing_is_said_may_do_inference_with_all_models() -> None:
    found = principal({})
    assert found == Principal("abcd", "ci", "acme")
    assert (found.models, found.operations, found.limits, found.scopes) == (None, None, (), {"inference"})


def test_limits_stand_key_team_tenant_and_are_named_after_their_level() -> None:
    found = principal({"limits": [limit("a")]}, {"limits": [limit("a"), limit("b")]}, {"limits": [limit("a")]})
    assert [each.name for each in found.limits] == ["key.a", "team.a", "team.b", "tenant.a"]


@pytest.mark.parametrize(
    ("written", "key", "team", "tenant"),
    [
        ((), (Subject.KEY,), (Subject.TENANT, Subject.TEAM), (Subject.TENANT,)),
        (("key",), (Subject.KEY,), (Subject.TENANT, Subject.TEAM), (Subject.TENANT,)),
        (("tenant",), (Subject.KEY,), (Subject.TENANT, Subject.TEAM), (Subject.TENANT,)),
        (
            ("model", "user", "team"),
            (Subject.KEY, Subject.USER, Subject.MODEL),
            (Subject.TENANT, Subject.TEAM, Subject.USER, Subject.MODEL),
            (Subject.TENANT, Subject.USER, Subject.MODEL),
        ),
    ],
)
def test_whose_budget_a_limit_is_its_level_says_whatever_was_written(
    written: tuple[str, ...], key: Any, team: Any, tenant: Any
) -> None:
    said = {"limits": [limit("a", *written)]}
    assert [each.per for each in principal(said, said, said).limits] == [key, team, tenant]


@pytest.mark.parametrize(
    ("field", "all_of"),
    [("models", {"a", "b", "c"}), ("operations", {"chat", "completions", "messages"})],
)
@pytest.mark.parametrize(
    ("key", "team", "tenant", "left"),
    [
        (None, None, None, None),
        (None, None, {0, 1}, {0, 1}),
        ({0, 2}, None, {0, 1}, {0}),
        ({0}, {0, 1}, {1, 2}, set()),
        (set(), None, None, set()),
        (None, {1}, None, {1}),
        (None, set(), {1}, set()),
    ],
)
def test_a_level_can_only_narrow_what_is_above_it(
    field: str, all_of: set[str], key: Any, team: Any, tenant: Any, left: Any
) -> None:
    names = sorted(all_of)

    def said(chosen: set[int] | None) -> Said:
        return {} if chosen is None else {field: [names[index] for index in sorted(chosen)]}

    found = getattr(principal(said(key), said(team), said(tenant)), field)
    assert found == (None if left is None else {names[index] for index in left})


@pytest.mark.parametrize(
    ("key", "team", "tenant", "left"),
    [
        (["inference", "pin"], None, None, {"inference", "pin"}),
        (["inference", "pin"], ["inference"], None, {"inference"}),
        (None, ["pin"], None, set()),
        (None, None, ["inference", "pin"], {"inference"}),
        (["admin:read", "admin:write"], None, ["admin:read", "inference"], {"admin:read"}),
        ([], None, None, set()),
    ],
)
def test_scopes_are_narrowed_too_and_never_widened(key: Any, team: Any, tenant: Any, left: set[str]) -> None:
    def said(scopes: Any) -> Said:
        return {} if scopes is None else {"scopes": scopes}

    assert principal(said(key), said(team), said(tenant)).scopes == left


def test_a_model_may_be_allowed_by_any_of_its_names() -> None:
    found = principal({"models": ["k2"]}, tenant={"models": ["kimi-k2", "x"]}, aliases={"k2": "kimi-k2"})
    assert found.models == {"kimi-k2"}


def test_metadata_share_and_priority_come_from_above() -> None:
    found = principal(
        {"metadata": {"a": "key"}},
        {"metadata": {"a": "team", "b": "team"}},
        {"metadata": {"b": "tenant", "c": "tenant"}, "share": 3, "priority": 7},
    )
    assert found.metadata == {"a": "key", "b": "team", "c": "tenant"}
    assert (found.share, found.priority) == (3, 7)


def test_the_first_end_is_the_end() -> None:
    assert built({"expires_at": 5}, {"expires_at": 3}, {"expires_at": 4})[1] == 3
    assert built({}, {}, {"expires_at": 4})[1] == 4
    assert built({})[1] == float("inf")
