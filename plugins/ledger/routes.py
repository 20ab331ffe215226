"""The admin routes: usage, statements, and how the ledger itself is; each asks the same query layer as the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from litestar import Request, Response, get
from litestar.params import QueryParameter
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Scope
from gateway.errors import InvalidRequest
from plugins.ledger.asked import ROWS, read_query
from plugins.ledger.dimensions import DIMENSIONS, TIMES
from plugins.ledger.formats import Format, write
from plugins.ledger.shipping import Shipper
from plugins.ledger.usage import Report, statement, usage
from plugins.ledger.writer import JournalWriter

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

READ = {"scope": Scope.ADMIN_READ.value}
_MEDIA = {Format.TABLE: "text/plain", Format.CSV: "text/csv", Format.JSON: "application/json"}
_FIXED = ("from", "to", "by", "limit", "format")
_ONLY = tuple(name for name in DIMENSIONS if name not in TIMES)

AnyRequest = Request[Any, Any, Any]
Text = Annotated[str | None, QueryParameter(required=False)]
By = Annotated[str, QueryParameter(description=f"Of these, with commas between: {', '.join(DIMENSIONS)}.")]
Since = Annotated[
    str | None, QueryParameter(name="from", description="A date or a time, UTC; this month's start by default.")
]
Until = Annotated[str | None, QueryParameter(name="to", description="The first moment that no longer counts.")]
# As text: what is wrong with it is said in our words.
Limit = Annotated[str, QueryParameter(description="So many lines at most.")]
Form = Annotated[str, QueryParameter(name="format", description="table, csv or json.")]


class Source(Protocol):
    """What the routes ask."""

    engine: AsyncEngine
    writer: JournalWriter
    shipper: Shipper
    clock: Callable[[], float]


class LedgerStatus(Struct, frozen=True):
    """How this gateway's ledger is.

    Attributes:
        trouble: why nothing can be written now; null while all is well.
        refusing: new calls are refused because of that.
        waiting_bytes: of the journal, written and not yet in the database, in whole files but for the last.
        written, shipped, lost, refused, damaged, set_aside: calls, since the process started.
        shipped_at: seconds since 1970.
    """

    trouble: str | None
    refusing: bool
    waiting_bytes: int
    written: int
    shipped: int
    lost: int
    refused: int
    damaged: int
    set_aside: int
    shipped_at: int | None


def handlers(source: Source) -> Sequence[ControllerRouterHandler]:
    """All routes."""

    @get("/admin/v1/usage", opt=READ, name="ledger_usage", tags=["ledger"])
    async def show_usage(
        request: AnyRequest,
        since: Since = None,
        until: Until = None,
        by: By = "",
        limit: Limit = str(ROWS),
        form: Form = Format.JSON.value,
    ) -> Response[str]:
        """Sum up calls, tokens and cost; any dimension but times is a parameter too, and may be repeated: `?tenant=acme`."""
        only = _only(request)
        query = read_query(since, until, by, only, _number(limit), now=source.clock())
        return _written(_form(form), await usage(source.engine, query))

    @get("/admin/v1/usage/statement", opt=READ, name="ledger_statement", tags=["ledger"])
    async def show_statement(
        request: AnyRequest, tenant: Text = None, month: Text = None, form: Form = Format.JSON.value
    ) -> Response[str]:
        """Sum up a tenant's month by model: tokens by class, cost, and how much of it is estimated."""
        _know(request, ("tenant", "month", "format"))
        if not tenant or not month:
            raise InvalidRequest("A statement is of a `tenant` and a `month` such as 2026-11.", param="tenant")
        return _written(_form(form), await statement(source.engine, tenant, month, now=source.clock()))

    @get("/admin/v1/ledger", opt=READ, name="ledger_status", tags=["ledger"])
    async def show_ledger() -> LedgerStatus:
        """Tell how this gateway's ledger is: whether it can write, and how far the database has what it wrote."""
        return status_of(source)

    return [show_usage, show_statement, show_ledger]


def status_of(source: Source) -> LedgerStatus:
    """How the ledger is now."""
    writer, shipped = source.writer, source.shipper.shipped
    return LedgerStatus(
        trouble=writer.trouble,
        refusing=writer.refusing,
        waiting_bytes=writer.bytes_on_disk,
        written=writer.written,
        shipped=shipped.calls,
        lost=writer.lost,
        refused=writer.refused,
        damaged=shipped.damaged,
        set_aside=shipped.set_aside,
        shipped_at=None if shipped.at is None else int(shipped.at),
    )


def _only(request: AnyRequest) -> dict[str, list[str]]:
    _know(request, (*_FIXED, *_ONLY))
    return {name: request.query_params.getall(name) for name in request.query_params if name in _ONLY}


def _know(request: AnyRequest, known: Sequence[str]) -> None:
    """A parameter that is misspelt must not be taken for one that is not there: the answer would be about all tenants."""
    for name in request.query_params:
        if name not in known:
            raise InvalidRequest(f"There is no parameter {name[:40]!r}; there is {', '.join(known)}.", param=name[:40])


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 9:  # noqa: PLR2004 - longer than any number that is meant
        return int(text)
    raise InvalidRequest("`limit` must be a number.", param="limit")


def _form(text: str) -> Format:
    if text in set(Format):
        return Format(text)
    raise InvalidRequest(f"`format` must be one of {', '.join(Format)}.", param="format")


def _written(form: Format, report: Report) -> Response[str]:
    headers = {"cache-control": "no-store"}
    return Response(write(report, form), media_type=_MEDIA[form], headers=headers)
