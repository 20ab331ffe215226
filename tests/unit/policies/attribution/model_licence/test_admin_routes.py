"""The admin API as a client sees it, on a whole gateway in this process: scopes, bodies, errors, and what is described."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Principal, Scope
from policies.attribution.model_licence.admin_routes import admin_handlers
from policies.attribution.model_licence.desk import Desk, build_desk
from policies.attribution.model_licence.evidence import PageChecker, PageChecks
from policies.attribution.model_licence.record_files import load
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin
from tests.unit.policies.attribution.model_licence.shop import NOW, Clock

RECORDS = load()
SHOP = {"name": "shop", "owner": "Shop team", "url": "https://shop.example/about"}
SIZE = {"monthly_active_users": 100_000_001, "as_of": "2026-11-01", "attested_by": "Head of shop"}
SCOPES = {
    "reader": {Scope.ADMIN_READ},
    "writer": {Scope.ADMIN_READ, Scope.ADMIN_WRITE},
    "caller": {Scope.INFERENCE},
}

EVERY_ROUTE = [
    ("GET", "/licences", "reader"),
    ("GET", "/licences/kimi-k2", "reader"),
    ("GET", "/licences/audit/head", "reader"),
    ("GET", "/licences/audit/verify", "reader"),
    ("GET", "/licences/report?month=2026-11", "reader"),
    ("GET", "/products", "reader"),
    ("GET", "/products/shop", "reader"),
    ("POST", "/products", "writer"),
    ("PATCH", "/products/shop", "writer"),
    ("POST", "/products/shop/members", "writer"),
    ("POST", "/products/shop/attestations", "writer"),
    ("POST", "/products/shop/evidence", "writer"),
    ("POST", "/products/shop/checks", "writer"),
]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What SQL does is shown on both elsewhere."""
    return sqlite_url


class Door:
    """Knows callers by their names."""

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        name = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        if name not in SCOPES:
            return None
        return Principal(key_id=f"id-{name}", key_name=name, tenant="ops", scopes=frozenset(SCOPES[name]))


class Admin:
    def __init__(self, client: httpx.AsyncClient, desk: Desk) -> None:
        self.desk = desk
        self._client = client

    async def ask(self, method: str, path: str, body: Any = None, by: str = "writer") -> httpx.Response:
        content = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        headers = {"authorization": f"Bearer {by}"} if by else {}
        return await self._client.request(method, f"/admin/v1{path}", headers=headers, **content)

    async def fine(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.ask(method, path, body)
        assert answer.is_success, answer.text
        return answer.json()

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        answer = await self.ask(method, path, body)
        assert not answer.is_success
        return answer.status_code, answer.headers["x-moegate-error"], answer.json()["error"]["message"]


class Routes:
    def __init__(self, desk: Desk | None) -> None:
        self.handlers = admin_handlers(lambda: desk)


@contextlib.asynccontextmanager
async def gateway(desk: Desk | None) -> AsyncIterator[httpx.AsyncClient]:
    async with contextlib.AsyncExitStack() as stack:
        door, routes = extension("door", Door()), extension("licence_routes", Routes(desk))
        module = plugin(moegate_authenticators=lambda: [door], moegate_routes=lambda: [routes])
        settings = config(server={}, plugins=[{"use": "door"}, {"use": "licence_routes"}])
        made = await stack.enter_async_context(running(module, settings=settings))
        transport = httpx.ASGITransport(app=made.edge)
        yield await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://gateway"))


def page(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, html="<p>Powered by Kimi K2</p>")


async def public(host: str, port: int) -> list[str]:
    return ["93.184.215.14"]


@pytest.fixture
async def admin(engine: AsyncEngine, clock: Clock) -> AsyncIterator[Admin]:
    looking = PageChecker(PageChecks(hosts=("shop.example",)), public, httpx.MockTransport(page))
    desk = msgspec.structs.replace(build_desk(engine, records=RECORDS), checker=looking)
    desk.directory.clock = clock
    async with gateway(desk) as client:
        yield Admin(client, desk)


@pytest.mark.parametrize(("method", "path", "needed"), EVERY_ROUTE)
async def test_nobody_without_the_scope_gets_in(admin: Admin, method: str, path: str, needed: str) -> None:
    wrong = {"reader": ("caller",), "writer": ("reader", "caller")}[needed]
    for by in wrong:
        assert (await admin.ask(method, path, {}, by=by)).status_code == 403
    assert (await admin.ask(method, path, {}, by="")).status_code == 401
    assert (await admin.ask(method, path, {}, by=needed)).status_code in {200, 201, 400, 404}


async def test_every_route_is_described(admin: Admin) -> None:
    described = await admin.fine("GET", "/openapi.json")
    ours = {
        (method.upper(), path.removeprefix("/admin/v1"))
        for path, methods in described["paths"].items()
        for method in methods
        if path.startswith(("/admin/v1/licences", "/admin/v1/products"))
    }
    wanted = {
        (method, path.partition("?")[0].replace("shop", "{product}").replace("kimi-k2", "{licence}"))
        for method, path, _ in EVERY_ROUTE
    }
    assert ours == wanted


async def test_a_product_from_its_start_to_over_the_threshold(admin: Admin) -> None:
    assert (await admin.fine("POST", "/products", SHOP))["added_at"] == NOW
    assert await admin.fine("POST", "/products", SHOP) == await admin.fine("PATCH", "/products/shop", {})
    members = [{"key": "1a2b"}, {"tenant": "acme", "team": "web"}]
    assert len((await admin.fine("POST", "/products/shop/members", {"members": members}))["changed"]) == 2
    said = await admin.fine("POST", "/products/shop/attestations", {**SIZE, "licence": "kimi-k2"})
    assert (said["attested_by"], said["attested_at"]) == ("Head of shop", NOW)
    details = await admin.fine("GET", "/products/shop")
    assert [(each["licence"], each["state"]) for each in details["standing"]] == [("kimi-k2", "above_not_displayed")]
    assert details["members"] == [
        {"key": "1a2b", "tenant": None, "team": None}, {"key": None, "tenant": "acme", "team": "web"},
    ]  # fmt: skip
    proof = {"licence": "kimi-k2", "kind": "note", "value": "At the foot of every page."}
    given = await admin.fine("POST", "/products/shop/evidence", proof)
    assert (given["given_by"], given["string"]) == ("key id-writer (ops/writer)", "Kimi K2")
    details = await admin.fine("GET", "/products/shop")
    assert [each["state"] for each in details["standing"]] == ["above_displayed"]
    assert (await admin.fine("GET", "/licences/audit/verify"))["intact"] is True


async def test_a_page_is_looked_at(admin: Admin) -> None:
    await admin.fine("POST", "/products", SHOP)
    seen = await admin.fine("POST", "/products/shop/checks", {"licence": "kimi-k2"})
    assert (seen["kind"], seen["value"], seen["displayed"]) == ("machine_check", SHOP["url"], True)
    assert len(seen["digest"]) == 64
    seen = await admin.fine("POST", "/products/shop/checks", {"licence": "kimi-k2.5"})
    assert seen["displayed"] is False
    other = {"licence": "kimi-k2", "url": "http://169.254.169.254/latest"}
    assert (await admin.refused("POST", "/products/shop/checks", other))[0] == 400
    await admin.fine("POST", "/products", {"name": "bare", "owner": "x"})
    assert "no address" in (await admin.refused("POST", "/products/bare/checks", {"licence": "kimi-k2"}))[2]


async def test_products_are_listed_page_by_page(admin: Admin) -> None:
    for name in ("c", "a", "b"):
        await admin.fine("POST", "/products", {**SHOP, "name": name})
    first = await admin.fine("GET", "/products?limit=2")
    assert ([each["name"] for each in first["data"]], first["has_more"]) == (["a", "b"], True)
    last = await admin.fine("GET", "/products?limit=2&after=b")
    assert ([each["name"] for each in last["data"]], last["has_more"]) == (["c"], False)


async def test_licences_are_listed_and_shown(admin: Admin) -> None:
    listed = (await admin.fine("GET", "/licences"))["data"]
    assert [each["record"]["id"] for each in listed] == sorted(RECORDS)
    shown = await admin.fine("GET", "/licences/kimi-k2")
    assert shown["digest"] == RECORDS["kimi-k2"].digest
    assert shown["record"]["display"]["string"] == "Kimi K2"


async def test_a_kept_head_is_checked(admin: Admin) -> None:
    await admin.fine("POST", "/products", SHOP)
    head = (await admin.fine("GET", "/licences/audit/head"))["head"]
    await admin.fine("POST", "/products", {**SHOP, "name": "other"})
    assert (await admin.fine("GET", f"/licences/audit/verify?head={head}"))["kept"] != []
    wrong = f"1:{'0' * 64}"
    assert (await admin.fine("GET", f"/licences/audit/verify?head={wrong}"))["intact"] is False
    assert (await admin.refused("GET", "/licences/audit/verify?head=x"))[0] == 400


async def test_a_month_is_reported(admin: Admin) -> None:
    found = await admin.fine("GET", "/licences/report?month=2026-11")
    assert (found["month"], found["history"]["intact"]) == ("2026-11", True)
    assert (await admin.refused("GET", "/licences/report?month=2026-13"))[:2] == (400, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/products/none", None, 404),
        ("GET", "/licences/none", None, 404),
        ("POST", "/products", {**SHOP, "owner": "Another"}, 409),
        ("POST", "/products", {**SHOP, "name": "a b"}, 400),
        ("POST", "/products", {**SHOP, "unknown": 1}, 400),
        ("POST", "/products", {**SHOP, "url": "javascript:x"}, 400),
        ("POST", "/products", b"{", 400),
        ("PATCH", "/products/none", {"owner": "x"}, 404),
        ("PATCH", "/products/shop", {"audience": "everybody"}, 400),
        ("POST", "/products/shop/members", {"members": []}, 400),
        ("POST", "/products/shop/members", {"members": [{"team": "x"}]}, 400),
        ("POST", "/products/shop/attestations", {"as_of": "2026-11-01"}, 400),
        ("POST", "/products/shop/attestations", {**SIZE, "monthly_active_users": -1}, 400),
        ("POST", "/products/shop/attestations", {**SIZE, "licence": "none"}, 404),
        ("POST", "/products/shop/evidence", {"licence": "kimi-k2", "kind": "url", "value": "x"}, 400),
        ("POST", "/products/shop/evidence", {"licence": "kimi-k2", "kind": "note", "value": "x" * 3_000}, 400),
        ("POST", "/products", b" " * 300_000, 413),
    ],
)
async def test_what_does_not_fit_is_refused_and_changes_nothing(
    admin: Admin, method: str, path: str, body: Any, status: int
) -> None:
    await admin.fine("POST", "/products", SHOP)
    head = await admin.fine("GET", "/licences/audit/head")
    found = await admin.refused(method, path, body)
    assert found[0] == status, found
    assert await admin.fine("GET", "/licences/audit/head") == head


async def test_without_the_policy_there_is_nothing(engine: AsyncEngine) -> None:
    async with gateway(None) as client:
        answer = await client.get("/admin/v1/products", headers={"authorization": "Bearer reader"})
        assert answer.status_code == 404
        assert "does not name model_licence" in answer.json()["error"]["message"]
