"""Decides what of an error a client may read, as a status, headers and text; in whose words is for the endpoint to say."""

from __future__ import annotations

import math
from typing import Any

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from gateway.errors import GatewayError, MethodNotAllowed, UpstreamRefused
from gateway.http.endpoints import shape_at
from gateway.http.shapes import Told

Headers = list[tuple[bytes, bytes]]

log = structlog.get_logger("moegate.http")

# Litestar's own refusals, of requests that never were a call.
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def status_of(error: GatewayError) -> int:
    """The HTTP status: the class's, or the engine's own where a refusal is passed on."""
    return error.engine_status if isinstance(error, UpstreamRefused) else error.status


def told(error: GatewayError, *, debug: bool = False) -> Told:
    """The error as its caller may know it. With `debug`, what only the log should see is added; never on by default."""
    return Told(
        status=status_of(error),
        type=(error.engine_type if isinstance(error, UpstreamRefused) else None) or error.type,
        code=error.code,
        message=error.public_message,
        param=error.param,
        debug=error.message if debug else None,
    )


def headers_of(error: GatewayError) -> Headers:
    """Headers that go with the body, apart from its length."""
    headers: Headers = [(b"content-type", b"application/json"), (b"x-moegate-error", error.code.encode())]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_seconds))))
    headers += error.headers
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", b"POST"))
    if status_of(error) == 401:  # noqa: PLR2004 - RFC 9110, section 11.6.1: a 401 names its scheme
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def _response(request: Request[Any, Any, Any], shown: Told, headers: Headers) -> Response[bytes]:
    call_id: str | None = request.scope["state"].get("call_id")
    # The edge adds the id to other routes only, and Litestar refuses some requests before an inference route is asked.
    if call_id:
        headers = [*headers, (b"x-moegate-call-id", call_id.encode())]
    body = shape_at(request.scope["path"]).body(shown, call_id or "")
    named = {name.decode(): value.decode() for name, value in headers if name != b"content-type"}
    return Response(body, status_code=shown.status, media_type=MediaType.JSON, headers=named)


def handle_gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    """Litestar's handler for our own errors on ordinary routes."""
    return _response(request, told(error), headers_of(error))


def handle_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Litestar's handler for its own refusals: unknown path, wrong method, a body that does not fit."""
    ours = error.status_code >= 500  # noqa: PLR2004
    code = _CODES.get(error.status_code, "internal_error" if ours else "invalid_request")
    message = {
        404: f"There is no {request.url.path} here.",
        405: f"{request.method} is not allowed on {request.url.path}.",
    }.get(error.status_code, "The gateway failed." if ours else error.detail)
    kind = "server_error" if ours else "invalid_request_error"
    headers = [(b"x-moegate-error", code.encode())]
    if allow := (error.headers or {}).get("allow"):
        headers.append((b"allow", allow.encode()))
    return _response(request, Told(status=error.status_code, type=kind, code=code, message=message), headers)


def handle_crash(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's handler for anything else: the client learns nothing of it, the log everything."""
    log.error("request crashed", path=request.url.path, call_id=request.scope["state"].get("call_id"), exc_info=error)
    return handle_gateway_error(request, GatewayError("unexpected error"))
