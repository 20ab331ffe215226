"""What all of the admin routes share: their scopes, who asks, how much of a list, and what is said to what does not fit."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response
from litestar.exceptions import ClientException, SerializationException
from litestar.params import PathParameter, QueryParameter
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE

from gateway import Principal, Scope
from gateway.errors import BodyTooLarge, GatewayError, InvalidRequest
from plugins.tenants.reading import MOST_ROWS

READ = {"scope": Scope.ADMIN_READ.value}
WRITE = {"scope": Scope.ADMIN_WRITE.value}
NOT_KEPT = {"cache-control": "no-store"}
MOST_FAULTS = 20
MAX_BODY_BYTES = 2**20

_WORD = r"^[0-9A-Za-z._-]{0,64}$"

Some = Annotated[int, QueryParameter(ge=1, le=MOST_ROWS, description="At most so many.")]
After = Annotated[str, QueryParameter(pattern=_WORD, description="Go on after this one.")]
Filter = Annotated[str | None, QueryParameter(pattern=_WORD, description="Only of this one.")]
Switch = Annotated[bool, QueryParameter()]
Entry = Annotated[int | None, QueryParameter(ge=0, le=2**53, description="Go on before this one.")]
Named = Annotated[str, PathParameter(pattern=_WORD)]
AnyRequest = Request[Any, Any, Any]


def actor(request: AnyRequest) -> str:
    """Who asks, for the audit."""
    principal: Principal = request.scope["state"]["principal"]
    return f"key {principal.key_id} ({principal.tenant}/{principal.key_name})"


def refuse(request: AnyRequest, error: ClientException) -> Response[Any]:
    """What does not fit, in our words: Litestar's say that something does not, and put what it is elsewhere."""
    if error.status_code == HTTP_413_REQUEST_ENTITY_TOO_LARGE:
        return _told(request, BodyTooLarge(f"The body is longer than {MAX_BODY_BYTES} bytes."))
    found = [fault for fault in error.extra if isinstance(fault, dict)] if isinstance(error.extra, list) else []
    faults = [f"{fault.get('key') or 'the body'}: {fault.get('message')}" for fault in found[:MOST_FAULTS]]
    if isinstance(error.__cause__, SerializationException) or isinstance(error, SerializationException):
        faults = [f"the body is no JSON: {error.detail}"]
    return _told(
        request, InvalidRequest("; ".join(faults) or error.detail, param=found[0].get("key") if found else None)
    )


def _told(request: AnyRequest, ours: GatewayError) -> Response[Any]:
    handle: Any = request.app.exception_handlers[GatewayError]
    answer: Response[Any] = handle(request, ours)
    return answer
