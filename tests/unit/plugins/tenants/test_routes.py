"""The admin API as a client sees it, on a whole gateway in this process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.contracts.keys import parse_key
from plugins.tenants.directory import Directory
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin
from tests.unit.plugins.tenants.scene import ACTOR, NOW, Clock, Node, declaration

LIMIT = {"name": "minute", "dimension": "requests", "amount": 60, "every": "minute"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What SQL does is shown on both in test_directory."""
    return sqlite_url


class Admin:
    """A gateway with an admin key, a reading key, and an ordinary one."""

    def __init__(self, client: httpx.AsyncClient, node: Node, keys: dict[str, str]) -> None:
        self.node = node
        self.keys = keys
        self._client = client

    async def ask(self, method: str, path: str, body: Any = None, by: str = "admin") -> httpx.Response:
        content = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        headers = {"authorization": f"Bearer {self.keys[by]}"} if by else {}
        return await self._client.request(method, f"/admin/v1{path}", headers=headers, **content)

    async def fine(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.ask(method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json()


@pytest.fixture
async def admin(engine: AsyncEngine, clock: Clock) -> AsyncIterator[Admin]:
    async with contextlib.AsyncExitStack() as stack:
        directory = Directory(engine, clock)
        said = [
            {"name": "admin", "scopes": ["admin:read", "admin:write"]},
            {"name": "reader", "scopes": ["admin:read"]},
            {"name": "caller"},
        ]
        applied = await directory.apply(ACTOR, declaration({"name": "ops", "keys": said}))
        node = Node(engine, clock)
        await node.refresh()
        tenants = extension("tenants", node.tenants)
        module = plugin(moegate_authenticators=lambda: [tenants], moegate_routes=lambda: [tenants])
        settings = config(server={}, plugins=[{"use": "tenants"}])
        gateway = await stack.enter_async_context(running(module, settings=settings))
        transport = httpx.ASGITransport(app=gateway.edge)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://gateway"))
        yield Admin(client, node, {key.name: key.key for key in applied.made})


async def test_a_tenant_a_team_and_a_key_from_birth_to_end(admin: Admin) -> None:
    tenant = await admin.fine("POST", "/tenants", {"name": "acme", "limits": [LIMIT], "share": 2})
    assert (tenant["state"], tenant["share"], tenant["limits"][0]["amount"]) == ("active", 2.0, 60.0)
    team = await admin.fine("POST", "/teams", {"tenant": "acme", "name": "search", "models": ["kimi-k2"]})
    assert (team["tenant"], team["name"], team["models"]) == ("acme", "search", ["kimi-k2"])
    made = await admin.fine("POST", "/keys", {"tenant": "acme", "team": "search", "name": "ci"})
    await admin.node.refresh()
    principal = admin.node.knows(made["key"])
    assert principal is not None
    assert [limit.name for limit in principal.limits] == ["tenant.minute"]
    shown = await admin.fine("GET", f"/keys/{made['id']}")
    assert shown == {name: value for name, value in made.items() if name != "key"}
    rotated = await admin.fine("POST", f"/keys/{made['id']}/rotate", {"grace_seconds": 60})
    assert (rotated["id"], rotated["retiring_at"]) == (made["id"], [NOW + 60])
    assert rotated["key"] != made["key"]
    changed = await admin.fine("PATCH", "/teams/acme/search", {"models": None, "disabled": True})
    assert (changed["models"], changed["state"]) == (None, "disabled")
    assert (await admin.fine("PATCH", "/tenants/acme", {"priority": 3}))["limits"] == tenant["limits"]
    revoked = await admin.fine("POST", f"/keys/{made['id']}/revoke")
    assert (revoked["state"], revoked["revoked_at"]) == ("revoked", NOW)
    entries = (await admin.fine("GET", "/audit?tenant=acme"))["data"]
    assert [entry["action"] for entry in entries] == [
        "key.revoke", "tenant.change", "team.change", "key.rotate", "key.create", "team.create", "tenant.create",
    ]  # fmt: skip
    parts = parse_key(admin.keys["admin"])
    assert parts is not None
    assert {entry["actor"] for entry in entries} == {f"key {parts.public_id} (ops/admin)"}


async def test_an_answer_with_a_secret_is_kept_nowhere(admin: Admin) -> None:
    made = await admin.ask("POST", "/keys", {"tenant": "ops", "name": "one"})
    rotated = await admin.ask("POST", f"/keys/{made.json()['id']}/rotate", {})
    applied = await admin.ask("POST", "/apply", {"tenants": [{"name": "ops", "keys": [{"name": "two"}]}]})
    for answer in (made, rotated, applied):
        assert answer.headers["cache-control"] == "no-store"
    texts = [made.json()["key"], rotated.json()["key"], applied.json()["keys"][0]["key"]]
    everything = "".join([(await admin.ask("GET", path)).text for path in ("/keys", "/audit", "/tenants")])
    for shown in texts:
        parts = parse_key(shown)
        assert parts is not None
        assert parts.secret not in everything


ROUTES = [
    ("GET", "/tenants"), ("POST", "/tenants"), ("GET", "/tenants/ops"), ("PATCH", "/tenants/ops"),
    ("GET", "/teams?tenant=ops"), ("POST", "/teams"), ("GET", "/teams/ops/t"), ("PATCH", "/teams/ops/t"),
    ("GET", "/keys"), ("POST", "/keys"), ("GET", "/keys/abcd"), ("PATCH", "/keys/abcd"),
    ("POST", "/keys/abcd/rotate"), ("POST", "/keys/abcd/revoke"), ("POST", "/apply"), ("GET", "/audit"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_asks_for_its_scope(admin: Admin, method: str, path: str) -> None:
    def status_of(answer: httpx.Response) -> int:
        return answer.status_code

    body = {} if method != "GET" else None
    assert status_of(await admin.ask(method, path, body, by="")) == 401
    assert status_of(await admin.ask(method, path, body, by="caller")) == 403
    reading = status_of(await admin.ask(method, path, body, by="reader"))
    assert (reading == 403) == (method != "GET")
    assert status_of(await admin.ask(method, path, body)) not in (401, 403, 500)


async def test_the_table_of_routes_is_described_and_complete(admin: Admin) -> None:
    described = await admin.fine("GET", "/openapi.json")
    found = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    listed = {(method, f"/admin/v1{path.partition('?')[0]}") for method, path in ROUTES}
    named = {
        (method, path.replace("ops/t", "{tenant}/{name}").replace("/ops", "/{name}").replace("abcd", "{public_id}"))
        for method, path in listed
    }
    assert found == named
    create = described["paths"]["/admin/v1/keys"]["post"]
    assert create["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("NewKey")
    assert create["description"] == "Make a key; the answer shows it whole, once."


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "says"),
    [
        ("POST", "/tenants", {"name": "a b"}, 400, "invalid_request", "name: Expected `str` matching"),
        ("POST", "/tenants", {"nam": "a"}, 400, "invalid_request", "unknown field `nam`"),
        ("POST", "/tenants", {}, 400, "invalid_request", "missing required field `name`"),
        ("POST", "/tenants", [], 400, "invalid_request", "Expected `object`, got `array`"),
        ("POST", "/tenants", b"{", 400, "invalid_request", "JSON"),
        ("POST", "/tenants", {"name": "a", "limits": [{**LIMIT, "every": None}]}, 400, "invalid_request",
         "limits[0].every: missing"),
        ("POST", "/tenants", {"name": "a", "limits": [{**LIMIT, "amount": 0}]}, 400, "invalid_request", "limits[0].amount"),
        ("POST", "/tenants", {"name": "ops"}, 409, "conflict", "There is a tenant 'ops' already."),
        ("POST", "/tenants", b" " * 2**20 + b"{}", 413, "body_too_large", ""),
        ("GET", "/tenants/nobody", None, 404, "not_found", "There is no tenant 'nobody'."),
        ("GET", "/tenants/%00", None, 400, "invalid_request", "name: Expected `str` matching"),
        ("GET", "/keys?after=%00", None, 400, "invalid_request", "after: Expected `str` matching"),
        ("GET", f"/audit?before={2**64}", None, 400, "invalid_request", "before: "),
        ("GET", "/tenants?limit=0", None, 400, "invalid_request", "limit: "),
        ("GET", "/teams", None, 400, "invalid_request", "tenant"),
        ("GET", "/audit?before=x", None, 400, "invalid_request", "before: "),
        ("PATCH", "/tenants/ops", {"disabled": "yes"}, 400, "invalid_request", "disabled: Expected `bool"),
        ("POST", "/keys", {"name": "k", "tenant": "ops", "scopes": ["root"]}, 400, "invalid_request", "scopes[0]: Invalid enum"),
        ("POST", "/keys/nobody/rotate", {"grace_seconds": -1}, 400, "invalid_request", "grace_seconds"),
        ("POST", "/keys/nobody/rotate", {}, 404, "not_found", "There is no key 'nobody'."),
        ("POST", "/apply", {"tenants": [{"name": "a", "keys": [{"name": "k", "secret_env": "HOME"}]}]}, 400, "invalid_request",
         "tenants[0].keys[0]: secret_env is for files alone"),
        ("DELETE", "/tenants/ops", None, 405, "method_not_allowed", "DELETE is not allowed"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_refused_in_openai_s_shape(  # noqa: PLR0917 - one case is six things
    admin: Admin, method: str, path: str, body: Any, status: int, code: str, says: str
) -> None:
    answer = await admin.ask(method, path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert says in answer.json()["error"]["message"]
    assert answer.headers["x-moegate-error"] == code


async def test_a_lost_database_is_503_and_says_no_more(admin: Admin, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE tenants_tenant RENAME TO elsewhere"))
    answer = await admin.ask("GET", "/tenants")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert "tenants_tenant" not in answer.text


async def test_applying_is_idempotent_and_can_be_dry(admin: Admin) -> None:
    said = {"tenants": [{"name": "acme", "limits": [LIMIT], "teams": [{"name": "search"}]}]}
    dry = await admin.fine("POST", "/apply?dry_run=true", said)
    assert [change["action"] for change in dry["changes"]] == ["tenant.create", "team.create"]
    assert (await admin.ask("GET", "/tenants/acme")).status_code == 404
    done = await admin.fine("POST", "/apply", said)
    assert (done["changes"], dry["dry_run"], done["dry_run"]) == (dry["changes"], True, False)
    assert (await admin.fine("POST", "/apply", said))["changes"] == []


async def test_lists_come_in_pages(admin: Admin) -> None:
    for name in ("a", "b", "c"):
        await admin.fine("POST", "/tenants", {"name": name})
    first = await admin.fine("GET", "/tenants?limit=3")
    assert ([each["name"] for each in first["data"]], first["has_more"], first["object"]) == (
        ["a", "b", "c"],
        True,
        "list",
    )
    rest = await admin.fine("GET", "/tenants?limit=3&after=c")
    assert ([each["name"] for each in rest["data"]], rest["has_more"]) == (["ops"], False)
