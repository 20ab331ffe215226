from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from litestar import Request, Router, get, post

from gateway import Principal, Scope
from gateway.errors import ConfigError, Rejected
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin


@get("/mine/private", sync_to_thread=False)
def private(request: Request[Any, Any, Any]) -> str:
    principal: Principal = request.scope["state"]["principal"]
    return f"for {principal.key_id}"


@get("/mine/public", opt={"public": True}, sync_to_thread=False)
def public() -> str:
    return "for all"


@post("/mine/refuses")
async def refuses() -> None:
    raise Rejected("Not for you.")


@get("/inner", sync_to_thread=False)
def inner() -> str:
    return "within"


@get("/admin/v1/things", opt={"scope": Scope.ADMIN_READ}, sync_to_thread=False)
def things() -> list[str]:
    """Every thing."""
    return ["one"]


@get("/admin/v1/forgotten", opt={"public": True}, sync_to_thread=False)
def forgotten() -> str:
    return "nobody shall see this"


@get("/healthz", sync_to_thread=False)
def taken() -> str:
    return "mine"


class Provider:
    def __init__(self, *handlers: Any) -> None:
        self._handlers = handlers

    @property
    def handlers(self) -> Sequence[Any]:
        return self._handlers


class KnowsAnyKey:
    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        sent = headers.get(b"x-api-key")
        scopes = frozenset((headers.get(b"x-scopes") or b"inference").decode().split())
        return Principal(sent.decode(), "key", "tenant", scopes=scopes) if sent else None


BRINGS = plugin(
    moegate_routes=lambda: [
        extension("mine", Provider(private, public, refuses, Router("/mine/router", route_handlers=[inner]))),
        extension("collides", Provider(taken)),
        extension("admin", Provider(things, forgotten)),
    ],
    moegate_authenticators=lambda: [extension("any", KnowsAnyKey())],
)
SETTINGS = config(server={}, plugins=[{"use": "any"}, {"use": "mine"}])
ADMIN = config(server={}, plugins=[{"use": "any"}, {"use": "mine"}, {"use": "admin"}])


@pytest.mark.parametrize(
    ("path", "key", "status", "body"),
    [
        ("/mine/private", {}, 401, None),
        ("/mine/private", {"x_api_key": "k1"}, 200, b"for k1"),
        ("/mine/public", {}, 200, b"for all"),
        ("/mine/router/inner", {}, 401, None),
        ("/mine/router/inner", {"x_api_key": "k1"}, 200, b"within"),
        ("/mine/absent", {"x_api_key": "k1"}, 404, None),
    ],
)
async def test_a_route_asks_for_a_key_unless_it_is_declared_public(
    path: str, key: dict[str, str], status: int, body: bytes | None
) -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        answer = await gateway.ask(path, method="GET", **key)
    assert answer.status == status
    assert len(answer.headers["x-moegate-call-id"]) == 32
    assert answer.body == (body if body is not None else answer.body)
    assert ("x-moegate-error" in answer.headers) == (status >= 400)


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/admin/v1/things", {}, 401),
        ("/admin/v1/things", {"x_api_key": "k1"}, 403),
        ("/admin/v1/things", {"x_api_key": "k1", "x_scopes": "admin:write"}, 403),
        ("/admin/v1/things", {"x_api_key": "k1", "x_scopes": "admin:read"}, 200),
        # A route that says nothing of scopes, or says that it is public, is open to nobody there.
        ("/admin/v1/forgotten", {}, 401),
        ("/admin/v1/forgotten", {"x_api_key": "k1", "x_scopes": "admin:read admin:write"}, 403),
        ("/admin/v1/openapi.json", {}, 401),
        ("/admin/v1/openapi.json", {"x_api_key": "k1"}, 403),
    ],
)
async def test_an_admin_route_asks_for_its_scope(path: str, key: dict[str, str], status: int) -> None:
    async with running(BRINGS, settings=ADMIN) as gateway:
        answer = await gateway.ask(path, method="GET", **key)
    assert answer.status == status
    assert b"nobody shall see this" not in answer.body


async def test_what_plugins_bring_is_described() -> None:
    async with running(BRINGS, settings=ADMIN) as gateway:
        answer = await gateway.ask(
            "/admin/v1/openapi.json", method="GET", x_api_key="k1", x_scopes="admin:read inference"
        )
    described = json.loads(answer.body)
    assert described["paths"]["/admin/v1/things"]["get"]["description"] == "Every thing."
    assert "/v1/models" not in described["paths"]


async def test_an_unknown_admin_path_is_refused_in_our_words() -> None:
    async with running(BRINGS, settings=ADMIN) as gateway:
        answer = await gateway.ask("/admin/v1/absent", method="GET", x_api_key="k1", x_scopes="admin:read")
    assert (answer.status, answer.error["code"]) == (404, "not_found")


async def test_an_error_of_ours_is_rendered_there_too() -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        answer = await gateway.ask("/mine/refuses", method="POST", x_api_key="k1")
    assert (answer.status, answer.error["message"]) == (403, "Not for you.")


async def test_without_being_named_there_is_no_route() -> None:
    async with running(BRINGS) as gateway:
        assert (await gateway.ask("/mine/public", method="GET")).status == 404


async def test_two_routes_for_one_path_are_refused() -> None:
    with pytest.raises(ConfigError, match="plugins: two routes collide"):
        async with running(BRINGS, settings=config(plugins=[{"use": "collides"}])):
            pass
