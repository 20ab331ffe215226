"""What a genuine token is worth: tenant, team, name and scopes are those that the settings say, and no others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway import Principal
from gateway.errors import ConfigError, Unauthenticated
from plugins.oidc.authenticator import Oidc
from plugins.oidc.settings import OidcSettings, check, trustworthy
from tests.support.oidc_issuer import Issuer
from tests.unit.plugins.oidc.conftest import Door


async def test_one_tenant_for_all(issuer: Issuer, make_door: Any) -> None:
    door = await make_door(tenant="house", claims={})
    assert door.enter(issuer.token(tenant="rival")).tenant == "house"


async def test_claims_may_be_inside_of_others_and_have_dots(issuer: Issuer, make_door: Any) -> None:
    claims = {
        "tenant": ["org", "id"],
        "team": "https://example.com/team",
        "name": "email",
        "scopes": ["access", "roles"],
    }
    door = await make_door(claims=claims, scopes={"operator": ["admin:read", "pin"]})
    token = issuer.token(
        org={"id": "acme"}, email="a@b.example", access={"roles": ["operator", 7]}, **{"https://example.com/team": "ml"}
    )
    principal = door.enter(token)
    assert (principal.tenant, principal.team, principal.key_name) == ("acme", "ml", "a@b.example")
    assert principal.scopes == {"inference", "admin:read", "pin"}


async def test_values_can_stand_for_tenants(issuer: Issuer, make_door: Any) -> None:
    door = await make_door(claims={"tenant": "tenant"}, tenants={"/groups/Acme Inc": "acme"})
    assert door.enter(issuer.token(tenant="/groups/Acme Inc")).tenant == "acme"
    with pytest.raises(Unauthenticated):
        door.enter(issuer.token(tenant="acme"))


async def test_scopes_are_granted_by_the_settings_only(issuer: Issuer, make_door: Any) -> None:
    door = await make_door()
    assert door.enter(issuer.token(scope="admin:write admin:read pin")).scopes == {"inference"}
    door = await make_door(scopes={"moegate.admin": ["admin:read", "admin:write"]}, default_scopes=[])
    assert door.enter(issuer.token(scope="openid moegate.admin")).scopes == {"admin:read", "admin:write"}
    assert door.enter(issuer.token(scope="admin:write")).scopes == frozenset()
    assert door.enter(issuer.token(scope={"moegate.admin": True})).scopes == frozenset()


@pytest.mark.parametrize("tenant", [None, "", 7, ["acme"], "a b", "../acme", "a" * 65, "-acme", "acme\n"])
async def test_a_tenant_that_is_none(issuer: Issuer, make_door: Any, tenant: Any) -> None:
    door = await make_door()
    with pytest.raises(Unauthenticated):
        door.enter(issuer.token(tenant=tenant))


@pytest.mark.parametrize("team", ["", 7, ["ml"], "m l"])
async def test_a_team_that_is_none(issuer: Issuer, make_door: Any, team: Any) -> None:
    door = await make_door(claims={"tenant": "tenant", "team": "team"})
    assert door.enter(issuer.token()).team is None
    with pytest.raises(Unauthenticated):
        door.enter(issuer.token(team=team))


@pytest.mark.parametrize("name", [None, 7, "two\nlines", "\u202eecila"])
async def test_a_name_that_cannot_be_shown_is_replaced(issuer: Issuer, make_door: Any, name: Any) -> None:
    door = await make_door(claims={"tenant": "tenant", "name": "nick"})
    principal = door.enter(issuer.token(nick=name))
    assert principal.key_name == principal.key_id
    assert len(door.enter(issuer.token(nick="x" * 500)).key_name) == 128


async def test_a_subject_has_one_id_whatever_its_name(issuer: Issuer, make_door: Any) -> None:
    door = await make_door(claims={"tenant": "tenant", "name": "nick"})
    first, second = (door.enter(issuer.token(nick=nick)) for nick in ("one", "two"))
    other = door.enter(issuer.token(sub="bob", nick="one"))
    assert first.key_id == second.key_id != other.key_id


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://login.example.com/realms/a", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost/realm", True),
        ("http://[::1]:80", True),
        ("http://login.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost@example.com", False),
        ("https://user:pw@example.com", False),
        ("https://example.com/#fragment", False),
        ("https://example.com:port", False),
        ("ftp://127.0.0.1", False),
        ("https:///realm", False),
        ("login.example.com", False),
    ],
)
def test_whose_word_is_taken(url: str, *, trusted: bool) -> None:
    assert trustworthy(url) is trusted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "http://login.example.com"}, "issuer: must be an https URL"),
        ({"jwks_url": "http://login.example.com/keys"}, "jwks_url: must be an https URL"),
        ({"tenant": None}, "exactly one of"),
        ({"tenants": {"a": "b"}}, "there is no `claims.tenant`"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], said: str) -> None:
    plain: dict[str, Any] = {"issuer": "https://login.example.com", "audience": ["moegate"], "tenant": "house"}
    check(OidcSettings(**plain))
    with pytest.raises(ConfigError, match=said):
        check(OidcSettings(**{**plain, **changes}))


async def test_a_directory_is_asked_at_each_call_and_its_word_counts(issuer: Issuer, door: Door) -> None:
    """Also for a token that is remembered: what a tenant is given may change at any time."""
    token, asked = issuer.token(), list[Principal]()

    def entitled(principal: Principal) -> Principal:
        asked.append(principal)
        if len(asked) > 2:
            raise Unauthenticated("Its tenant is disabled.")
        return msgspec.structs.replace(principal, share=len(asked) + 1.0)

    door.oidc = Oidc(door.settings, door.source, door.clock, entitled)
    assert [door.enter(token).share for _ in range(2)] == [2.0, 3.0]
    assert asked[0] is asked[1]
    with pytest.raises(Unauthenticated, match="disabled"):
        door.enter(token)
