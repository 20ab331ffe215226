"""The admin route of `decisions`: one call by its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Protocol

import structlog
from litestar import MediaType, Response, get
from litestar.params import PathParameter

from gateway import Scope
from gateway.errors import ClientError, GatewayError
from plugins.decisions.store import OUTAGES

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

log = structlog.get_logger("moegate.decisions")

CallId = Annotated[str, PathParameter(pattern=r"^[0-9A-Za-z-]{1,64}$", description="As in `x-moegate-call-id`.")]


class DecisionNotFound(ClientError):
    """The call is not known, or no longer."""

    status = 404
    code = "decision_not_found"


class DecisionUnknown(GatewayError):
    """The call is not in memory, and the database cannot be asked now."""

    status = 503
    code = "decision_unknown"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message


class Source(Protocol):
    """What the route asks."""

    async def find(self, call_id: str) -> bytes | None:
        """The record of a call as JSON."""


def handlers(source: Source) -> Sequence[ControllerRouterHandler]:
    """All routes."""

    @get(
        "/admin/v1/decisions/{call_id:str}",
        opt={"scope": Scope.ADMIN_READ.value},
        name="decisions_show",
        tags=["decisions"],
    )
    async def show_decision(call_id: CallId) -> Response[bytes]:
        """Tell why a call went where it went: candidates, what each policy dropped or scored, and each attempt."""
        try:
            found = await source.find(call_id)
        except OUTAGES as error:
            log.warning("a decision could not be looked up", error=type(error).__name__)
            raise DecisionUnknown("It is not in memory any more, and the database cannot be asked now.") from None
        if found is None:
            raise DecisionNotFound(
                "There is no decision of such a call: this gateway did not serve it, or it is too long ago and not in the sample."
            )
        return Response(found, media_type=MediaType.JSON, headers={"cache-control": "no-store"})

    return [show_decision]
