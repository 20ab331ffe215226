"""The table of routes, and how a plain route knows its caller; nothing here handles an inference call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, asgi, get
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import Parameter

from gateway.contracts.call import Scope
from gateway.errors import GatewayError, Rejected
from gateway.fleet.pool import Pool
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.http import errors
from gateway.http.endpoints import ENDPOINTS, Endpoint
from gateway.http.inference import Door, Inference

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler, HTTPScope, Receive, Send

    from gateway.contracts.plugin import Service
    from gateway.contracts.policy import Describing

PUBLIC = {"public": True}
ADMIN = "/admin/"

_OWNER = "moegate"


def build_app(
    inference: Inference,
    door: Door,
    fleet: PooledFleet,
    plugin_handlers: Sequence[ControllerRouterHandler],
    services: Mapping[str, Service] = MappingProxyType({}),
    describing: Sequence[Describing] = (),
) -> Litestar:
    """Put the table together. Services that have a `not_ready` are asked whether they are.

    `describing` says what `/v1/models` tells of weights.

    Raises:
        litestar.exceptions.ImproperlyConfiguredException: two handlers want one path.
    """
    # The guard stands on routers beside the inference routes: Litestar copies a guarded handler for every request.
    # A router for each, because two handlers of one path are refused by the application, but not within one router.
    guards = [_require_key(door)]
    guarded = [
        Router("/", route_handlers=[handler], guards=guards)
        for handler in (
            _list_models(door, describing),
            _show_model(door, describing),
            _healthz,
            _readyz(fleet, services),
        )
    ]
    # Only what plugins bring is described, and of that only what says that it may be shown: see `RouteProvider`.
    guarded += [
        Router("/", route_handlers=[handler], guards=guards, include_in_schema=True) for handler in plugin_handlers
    ]
    return Litestar(
        route_handlers=[
            *(_inference(path, endpoint, inference) for path, endpoint in ENDPOINTS.items()),
            *guarded,
        ],
        exception_handlers={
            GatewayError: errors.handle_gateway_error,
            HTTPException: errors.handle_http_exception,
            Exception: errors.handle_crash,
        },
        openapi_config=OpenAPIConfig(
            title="moegate admin API",
            version=version("moegate"),
            # A router for this path alone: Litestar answers whatever else lies below it with a page of its own.
            openapi_router=Router(
                f"{ADMIN}v1/openapi.json", route_handlers=[], guards=guards, opt={"scope": Scope.ADMIN_READ}
            ),
            render_plugins=[JsonRenderPlugin(path="/")],
            use_handler_docstrings=True,
        ),
        include_in_schema=False,
        logging_config=None,
    )


def _inference(path: str, endpoint: Endpoint, inference: Inference) -> ControllerRouterHandler:
    """An inference endpoint as a plain ASGI handler, which checks the key itself, before it reads the body.

    Requests come here by other spellings of its path, such as one with a last slash; the edge hands on the others.
    """

    async def handle(scope: HTTPScope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - see Edge
        await inference.handle(endpoint, scope, receive)

    return asgi(path, copy_scope=False, name=f"inference_{endpoint.operation.value}")(handle)


def _require_key(door: Door) -> Any:
    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        admin = connection.scope["path"].startswith(ADMIN)
        if handler.opt.get("public") and not admin:
            return
        principal = door.authenticate(dict(connection.scope["headers"]))
        wanted = handler.opt.get("scope")
        # Deny by default: an admin route that asks for no scope is open to nobody.
        if (admin and wanted is None) or (wanted is not None and wanted not in principal.scopes):
            raise Rejected(f"This key lacks the scope {wanted}." if wanted else "This route is open to no key.")
        connection.scope["state"]["principal"] = principal

    return guard  # async, because Litestar runs a plain function in a thread


def _list_models(door: Door, describing: Sequence[Describing]) -> ControllerRouterHandler:
    @get("/v1/models", name="list_models", sync_to_thread=False)
    def list_models(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Every model name and alias that the key may use, in OpenAI's shape."""
        allowed = request.scope["state"]["principal"].models
        shown = [
            _describe(pool, name, describing)
            for pool in door.pools
            if allowed is None or pool.model.name in allowed
            for name in (pool.model.name, *pool.model.aliases)
        ]
        return _json({"object": "list", "data": shown})

    return list_models


def _show_model(door: Door, describing: Sequence[Describing]) -> ControllerRouterHandler:
    @get("/v1/models/{name:path}", name="show_model", sync_to_thread=False)
    def show_model(name: str = Parameter()) -> Response[bytes]:
        """One model; its name may hold slashes."""
        name = name.removeprefix("/")
        return _json(_describe(door.pool(name), name, describing))

    return show_model


def _describe(pool: Pool, name: str, describing: Sequence[Describing]) -> dict[str, Any]:
    shown = {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": _OWNER,
        "max_model_len": max(member.replica.context_length for member in pool.members),
        "operations": sorted(operation.value for operation in pool.operations),
    }
    if describing:
        # Its replicas may have weights of different origin; the first ones are those of most calls.
        told = (each.describe(member.replica.checkpoint) for member in pool.members for each in describing)
        licences: list[Mapping[str, Any]] = []
        for each in told:
            if each is not None and each not in licences:
                licences.append(each)
        shown["licences"] = licences
    return shown


@get("/healthz", opt=PUBLIC, name="healthz", sync_to_thread=False)
def _healthz() -> Response[bytes]:
    """Alive: the event loop answers."""
    return _json({"status": "ok"})


def _readyz(fleet: PooledFleet, services: Mapping[str, Service]) -> ControllerRouterHandler:
    @get("/readyz", opt=PUBLIC, name="readyz", sync_to_thread=False)
    def readyz() -> Response[bytes]:
        """Ready as soon as one replica and all services are; what is not is listed with its reason either way."""
        waiting = fleet.not_ready()
        lacking = {
            name: reason for name, each in services.items() if (reason := getattr(each, "not_ready", None)) is not None
        }
        shown = {"models": waiting, "services": lacking} if lacking else {"models": waiting}
        if lacking or len(waiting) == len(fleet.pools):
            return _json({"status": "not ready", **shown}, status=503)
        return _json({"status": "ready", **shown})

    return readyz


def _json(content: Any, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status, media_type=MediaType.JSON)
