"""The admin API: tenants, teams, applying, the audit; each handler one call of the directory. Keys are key_routes'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from litestar import Response, Router, get, patch, post
from litestar.exceptions import ClientException
from litestar.params import Body

from plugins.tenants.asking import (
    MAX_BODY_BYTES,
    NOT_KEPT,
    READ,
    WRITE,
    After,
    AnyRequest,
    Entry,
    Filter,
    Named,
    Some,
    Switch,
    actor,
    refuse,
)
from plugins.tenants.declared import Declaration
from plugins.tenants.directory import Directory
from plugins.tenants.key_routes import key_handlers
from plugins.tenants.model import TENANT_TERMS, TERMS, Patch, TenantPatch, TenantTerms, Terms
from plugins.tenants.views import (
    AppliedView,
    AuditPage,
    NewTeam,
    NewTenant,
    TeamPage,
    TeamView,
    TenantPage,
    TenantView,
    applied_view,
    team_view,
    tenant_view,
)

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

PREFIX = "/admin/v1"


def handlers(directory: Directory) -> Sequence[ControllerRouterHandler]:
    """All routes, under `/admin/v1`."""
    every = (
        *_tenant_handlers(directory), *_team_handlers(directory), *key_handlers(directory), *_other_handlers(directory),
    )  # fmt: skip
    router = Router(
        PREFIX,
        route_handlers=every,
        exception_handlers={ClientException: refuse},
        request_max_body_size=MAX_BODY_BYTES,
        tags=["tenants"],
    )
    return [router]


def _tenant_handlers(directory: Directory) -> Sequence[ControllerRouterHandler]:
    @get("/tenants", opt=READ)
    async def list_tenants(after: After = "", limit: Some = 100) -> TenantPage:
        """List tenants, in the order of their names."""
        found = await directory.tenants(after, limit)
        return TenantPage(data=[tenant_view(each, directory.clock()) for each in found], has_more=len(found) == limit)

    @post("/tenants", opt=WRITE)
    async def create_tenant(request: AnyRequest, data: Annotated[NewTenant, Body()]) -> TenantView:
        """Make a tenant."""
        made = await directory.create_tenant(actor(request), data.name, _tenant_terms(data))
        return tenant_view(made, directory.clock())

    @get("/tenants/{name:str}", opt=READ)
    async def show_tenant(name: Named) -> TenantView:
        """Show a tenant."""
        return tenant_view(await directory.tenant(name), directory.clock())

    @patch("/tenants/{name:str}", opt=WRITE)
    async def change_tenant(request: AnyRequest, name: Named, data: Annotated[TenantPatch, Body()]) -> TenantView:
        """Change what a tenant carries, or disable it with all of its keys; what is not sent stays."""
        return tenant_view(await directory.change_tenant(actor(request), name, data), directory.clock())

    return (list_tenants, create_tenant, show_tenant, change_tenant)


def _team_handlers(directory: Directory) -> Sequence[ControllerRouterHandler]:
    @get("/teams", opt=READ)
    async def list_teams(tenant: After, after: After = "", limit: Some = 100) -> TeamPage:
        """List the teams of a tenant, in the order of their names."""
        found = await directory.teams(tenant, after, limit)
        return TeamPage(data=[team_view(each, directory.clock()) for each in found], has_more=len(found) == limit)

    @post("/teams", opt=WRITE)
    async def create_team(request: AnyRequest, data: Annotated[NewTeam, Body()]) -> TeamView:
        """Make a team."""
        made = await directory.create_team(actor(request), data.tenant, data.name, _terms(data))
        return team_view(made, directory.clock())

    @get("/teams/{tenant:str}/{name:str}", opt=READ)
    async def show_team(tenant: Named, name: Named) -> TeamView:
        """Show a team."""
        return team_view(await directory.team(tenant, name), directory.clock())

    @patch("/teams/{tenant:str}/{name:str}", opt=WRITE)
    async def change_team(request: AnyRequest, tenant: Named, name: Named, data: Annotated[Patch, Body()]) -> TeamView:
        """Change what a team carries, or disable it with all of its keys; what is not sent stays."""
        return team_view(await directory.change_team(actor(request), tenant, name, data), directory.clock())

    return (list_teams, create_team, show_team, change_team)


def _other_handlers(directory: Directory) -> Sequence[ControllerRouterHandler]:
    @post("/apply", opt=WRITE, status_code=200)
    async def apply(
        request: AnyRequest, data: Annotated[Declaration, Body()], *, dry_run: Switch = False, prune: Switch = False
    ) -> Response[AppliedView]:
        """Make tenants, teams and keys as they are declared; the same again changes nothing."""
        done = await directory.apply(actor(request), data, prune=prune, dry_run=dry_run)
        return Response(applied_view(done, dry_run=dry_run), headers=NOT_KEPT)

    @get("/audit", opt=READ)
    async def list_audit(tenant: Filter = None, before: Entry = None, limit: Some = 100) -> AuditPage:
        """List what was done, the latest first; `before` an entry's id to go on."""
        found = await directory.audit(tenant, before, limit)
        return AuditPage(data=found, has_more=len(found) == limit)

    return (apply, list_audit)


def _tenant_terms(given: TenantTerms) -> TenantTerms:
    return TenantTerms(**{field: getattr(given, field) for field in TENANT_TERMS})


def _terms(given: Terms) -> Terms:
    return Terms(**{field: getattr(given, field) for field in TERMS})
