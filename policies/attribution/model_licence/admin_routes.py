"""The admin API of licences and products; each handler one call of the desk's, and nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, Router, get, patch, post
from litestar.exceptions import ClientException, SerializationException
from litestar.params import Body, PathParameter, QueryParameter
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE

from gateway import Principal, Scope
from gateway.errors import BodyTooLarge, GatewayError, InvalidRequest
from policies.attribution.model_licence.desk import Desk
from policies.attribution.model_licence.failures import NotFound
from policies.attribution.model_licence.history import Head, parse_head
from policies.attribution.model_licence.products import Attestation, Evidence, Product
from policies.attribution.model_licence.report import Report, report
from policies.attribution.model_licence.verifying import Verdict, verify
from policies.attribution.model_licence.views import (
    AssignedView,
    CheckRequest,
    HeadView,
    LicencePage,
    LicenceView,
    ProductDetails,
    ProductPage,
    licence_views,
    product_details,
)
from policies.attribution.model_licence.wanted import (
    Assignment,
    NewAttestation,
    NewEvidence,
    NewProduct,
    ProductPatch,
)

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

PREFIX = "/admin/v1"
MAX_BODY_BYTES = 2**18
MOST_ROWS = 1_000
MOST_FAULTS = 20

READ = {"scope": Scope.ADMIN_READ.value}
WRITE = {"scope": Scope.ADMIN_WRITE.value}

Named = Annotated[str, PathParameter(pattern=r"^[0-9A-Za-z._+-]{1,128}$")]
After = Annotated[str, QueryParameter(pattern=r"^[0-9A-Za-z._-]{0,128}$", description="Go on after this one.")]
Some = Annotated[int, QueryParameter(ge=1, le=MOST_ROWS, description="At most so many.")]
KeptHead = Annotated[str | None, QueryParameter(max_length=100, description="A head that was kept elsewhere.")]
Month = Annotated[str, QueryParameter(pattern=r"^[0-9]{4}-[0-9]{2}$", description="Such as 2026-11, UTC.")]
AnyRequest = Request[Any, Any, Any]
OpenDesk = Callable[[], Desk | None]


def admin_handlers(desk: OpenDesk) -> Sequence[ControllerRouterHandler]:
    """All routes, under `/admin/v1`; `desk` is asked at each request, as it is built after the routes."""

    def opened() -> Desk:
        found = desk()
        if found is None:
            raise NotFound("This gateway applies no licences: policies.attribution does not name model_licence.")
        return found

    router = Router(
        PREFIX,
        route_handlers=(*_licence_handlers(opened), *_product_handlers(opened), *_saying_handlers(opened)),
        exception_handlers={ClientException: _refuse},
        request_max_body_size=MAX_BODY_BYTES,
        tags=["licences"],
    )
    return [router]


def _licence_handlers(desk: Callable[[], Desk]) -> Sequence[ControllerRouterHandler]:
    @get("/licences", opt=READ)
    async def list_licences() -> LicencePage:
        """List the licence records, and the models that are served under each."""
        return LicencePage(data=licence_views(desk()))

    @get("/licences/{licence:str}", opt=READ)
    async def show_licence(licence: Named) -> LicenceView:
        """Show a licence record whole."""
        opened = desk()
        opened.directory.string_of(licence)
        return next(view for view in licence_views(opened) if view.record.id == licence)

    @get("/licences/audit/head", opt=READ)
    async def show_audit_head() -> HeadView:
        """Show where the history ends, to be kept elsewhere."""
        found = await desk().directory.head()
        return HeadView(head=str(found), sequence=found.sequence, digest=found.digest)

    @get("/licences/audit/verify", opt=READ)
    async def verify_audit(head: KeptHead = None) -> Verdict:
        """Check the whole history, and a head that was kept elsewhere."""
        return await verify(desk().directory.engine, _heads(head))

    @get("/licences/report", opt=READ)
    async def show_licence_report(month: Month) -> Report:
        """Tell of a month which product used which weights under which licence, and what was known of it."""
        return await report(desk(), month)

    return (list_licences, show_audit_head, verify_audit, show_licence_report, show_licence)


def _product_handlers(desk: Callable[[], Desk]) -> Sequence[ControllerRouterHandler]:
    @get("/products", opt=READ)
    async def list_products(after: After = "", limit: Some = 100) -> ProductPage:
        """List products, in the order of their names."""
        snapshot = await desk().directory.snapshot()
        names = sorted(name for name in snapshot.products if name > after)
        return ProductPage(data=[snapshot.products[name] for name in names[:limit]], has_more=len(names) > limit)

    @post("/products", opt=WRITE)
    async def add_product(request: AnyRequest, data: Annotated[NewProduct, Body()]) -> Product:
        """Add a product; the same again changes nothing."""
        return await desk().directory.add(_actor(request), data)

    @get("/products/{product:str}", opt=READ)
    async def show_product(product: Named) -> ProductDetails:
        """Show a product with who belongs to it, what was said of it, and how it stands to each licence in use."""
        return await product_details(desk(), product)

    @patch("/products/{product:str}", opt=WRITE)
    async def change_product(request: AnyRequest, product: Named, data: Annotated[ProductPatch, Body()]) -> Product:
        """Change what is said of a product; what is not sent stays."""
        return await desk().directory.change(_actor(request), product, data)

    @post("/products/{product:str}/members", opt=WRITE, status_code=200)
    async def assign_members(request: AnyRequest, product: Named, data: Annotated[Assignment, Body()]) -> AssignedView:
        """Have keys, teams and tenants belong to a product, or no more."""
        return AssignedView(changed=await desk().directory.assign(_actor(request), product, data))

    return (list_products, add_product, show_product, change_product, assign_members)


def _saying_handlers(desk: Callable[[], Desk]) -> Sequence[ControllerRouterHandler]:
    @post("/products/{product:str}/attestations", opt=WRITE)
    async def attest(request: AnyRequest, product: Named, data: Annotated[NewAttestation, Body()]) -> Attestation:
        """Write down what a product's owner says of its size."""
        return await desk().directory.attest(_actor(request), product, data)

    @post("/products/{product:str}/evidence", opt=WRITE)
    async def give_evidence(request: AnyRequest, product: Named, data: Annotated[NewEvidence, Body()]) -> Evidence:
        """Write down that a product shows a licence's string, or that it does not."""
        return await desk().directory.show(_actor(request), product, data)

    @post("/products/{product:str}/checks", opt=WRITE)
    async def check_page(request: AnyRequest, product: Named, data: Annotated[CheckRequest, Body()]) -> Evidence:
        """Have the gateway look at a page for the string, and write down what it saw."""
        return await desk().check_page(_actor(request), product, data.licence, data.url)

    return (attest, give_evidence, check_page)


def _heads(text: str | None) -> list[Head]:
    try:
        return [] if text is None else [parse_head(text)]
    except ValueError as error:
        raise InvalidRequest(f"head: {error}.", param="head") from error


def _actor(request: AnyRequest) -> str:
    """Who asks, for the history."""
    principal: Principal = request.scope["state"]["principal"]
    return f"key {principal.key_id} ({principal.tenant}/{principal.key_name})"


def _refuse(request: AnyRequest, error: ClientException) -> Response[Any]:
    """What does not fit, in our words: Litestar's say that something does not, and put what it is elsewhere."""
    if error.status_code == HTTP_413_REQUEST_ENTITY_TOO_LARGE:
        return _told(request, BodyTooLarge(f"The body is longer than {MAX_BODY_BYTES} bytes."))
    found = [fault for fault in error.extra if isinstance(fault, dict)] if isinstance(error.extra, list) else []
    faults = [f"{fault.get('key') or 'the body'}: {fault.get('message')}" for fault in found[:MOST_FAULTS]]
    if isinstance(error.__cause__, SerializationException) or isinstance(error, SerializationException):
        faults = [f"the body is no JSON: {error.detail}"]
    param = found[0].get("key") if found else None
    return _told(request, InvalidRequest("; ".join(faults) or error.detail, param=param))


def _told(request: AnyRequest, ours: GatewayError) -> Response[Any]:
    handle: Any = request.app.exception_handlers[GatewayError]
    answer: Response[Any] = handle(request, ours)
    return answer
