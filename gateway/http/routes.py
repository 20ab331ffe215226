"""The table of routes, and how a plain route knows its caller; nothing here handles an inference call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar, MediaType, Response, Router, asgi, get
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.params import Parameter

from gateway.errors import GatewayError
from gateway.fleet.pool import Pool, PooledFleet
from gateway.http import errors
from gateway.http.endpoints import ENDPOINTS, Endpoint
from gateway.http.inference import Door, Inference

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler, HTTPScope, Receive, Send

PUBLIC = {"public": True}

_OWNER = "moegate"


def build_app(
    inference: Inference, door: Door, fleet: PooledFleet, plugin_handlers: Sequence[ControllerRouterHandler]
) -> Litestar:
    """Put the table together.

    Raises:
        litestar.exceptions.ImproperlyConfiguredException: two handlers want one path.
    """
    # The guard stands on routers beside the inference routes: Litestar copies a guarded handler for every request.
    # A router for each, because two handlers of one path are refused by the application, but not within one router.
    guards = [_require_key(door)]
    guarded = [
        Router("/", route_handlers=[handler], guards=guards)
        for handler in (_list_models(door), _show_model(door), _healthz, _readyz(fleet), *plugin_handlers)
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
        openapi_config=None,
        logging_config=None,
    )


def _inference(path: str, endpoint: Endpoint, inference: Inference) -> ControllerRouterHandler:
    """An inference endpoint as a plain ASGI handler: Litestar routes to it and adds nothing to its way.

    It checks the key itself, before it reads the body.
    """

    async def handle(scope: HTTPScope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - see Edge
        await inference.handle(endpoint, scope, receive)

    return asgi(path, copy_scope=False, name=f"inference_{endpoint.operation.value}")(handle)


def _require_key(door: Door) -> Any:
    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if not handler.opt.get("public"):
            connection.scope["state"]["principal"] = door.authenticate(dict(connection.scope["headers"]))

    return guard  # async, because Litestar runs a plain function in a thread


def _list_models(door: Door) -> ControllerRouterHandler:
    @get("/v1/models", name="list_models", sync_to_thread=False)
    def list_models() -> Response[bytes]:
        """Every model name and alias, in OpenAI's shape."""
        shown = [_describe(pool, name) for pool in door.pools for name in (pool.model.name, *pool.model.aliases)]
        return _json({"object": "list", "data": shown})

    return list_models


def _show_model(door: Door) -> ControllerRouterHandler:
    @get("/v1/models/{name:path}", name="show_model", sync_to_thread=False)
    def show_model(name: str = Parameter()) -> Response[bytes]:
        """One model; its name may hold slashes."""
        name = name.removeprefix("/")
        return _json(_describe(door.pool(name), name))

    return show_model


def _describe(pool: Pool, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": _OWNER,
        "max_model_len": max(member.replica.context_length for member in pool.members),
        "operations": sorted(operation.value for operation in pool.operations),
    }


@get("/healthz", opt=PUBLIC, name="healthz", sync_to_thread=False)
def _healthz() -> Response[bytes]:
    """Alive: the event loop answers."""
    return _json({"status": "ok"})


def _readyz(fleet: PooledFleet) -> ControllerRouterHandler:
    @get("/readyz", opt=PUBLIC, name="readyz", sync_to_thread=False)
    def readyz() -> Response[bytes]:
        """Ready as soon as one replica is; models without one are listed with the reason per replica either way."""
        waiting = fleet.not_ready()
        if len(waiting) == len(fleet.pools):
            return _json({"status": "not ready", "models": waiting}, status=503)
        return _json({"status": "ready", "models": waiting})

    return readyz


def _json(content: Any, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status, media_type=MediaType.JSON)
