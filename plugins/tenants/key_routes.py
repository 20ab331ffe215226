"""The admin API for keys; a secret is in an answer once, when it is made, and in none after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from litestar import Response, get, patch, post
from litestar.params import Body

from plugins.tenants.asking import NOT_KEPT, READ, WRITE, After, AnyRequest, Filter, Named, Some, actor
from plugins.tenants.directory import Directory
from plugins.tenants.model import TERMS, Patch, Terms
from plugins.tenants.views import KeyPage, KeyView, NewKey, Rotation, ShownKey, key_view, shown_key

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


def key_handlers(directory: Directory) -> Sequence[ControllerRouterHandler]:
    """The routes under `/keys`."""

    @get("/keys", opt=READ)
    async def list_keys(tenant: Filter = None, team: Filter = None, after: After = "", limit: Some = 100) -> KeyPage:
        """List keys, in the order of their ids; revoked ones too."""
        found = await directory.keys(tenant, team, after, limit)
        return KeyPage(data=[key_view(each, directory.clock()) for each in found], has_more=len(found) == limit)

    @post("/keys", opt=WRITE)
    async def create_key(request: AnyRequest, data: Annotated[NewKey, Body()]) -> Response[ShownKey]:
        """Make a key; the answer shows it whole, once."""
        terms = Terms(**{field: getattr(data, field) for field in TERMS})
        key, text = await directory.create_key(actor(request), (data.tenant, data.team), data.name, terms)
        return Response(shown_key(key, text, directory.clock()), headers=NOT_KEPT)

    @get("/keys/{public_id:str}", opt=READ)
    async def show_key(public_id: Named) -> KeyView:
        """Show a key."""
        return key_view(await directory.key(public_id), directory.clock())

    @patch("/keys/{public_id:str}", opt=WRITE)
    async def change_key(request: AnyRequest, public_id: Named, data: Annotated[Patch, Body()]) -> KeyView:
        """Change what a key carries, or disable it; what is not sent stays."""
        return key_view(await directory.change_key(actor(request), public_id, data), directory.clock())

    @post("/keys/{public_id:str}/rotate", opt=WRITE, status_code=200)
    async def rotate_key(
        request: AnyRequest, public_id: Named, data: Annotated[Rotation, Body()]
    ) -> Response[ShownKey]:
        """Give a key another secret; the old one still holds for the grace. The answer shows it whole, once."""
        key, text = await directory.rotate_key(actor(request), public_id, data.grace_seconds)
        return Response(shown_key(key, text, directory.clock()), headers=NOT_KEPT)

    @post("/keys/{public_id:str}/revoke", opt=WRITE, status_code=200)
    async def revoke_key(request: AnyRequest, public_id: Named) -> KeyView:
        """End a key for ever. On every node it holds within a second."""
        return key_view(await directory.revoke_key(actor(request), public_id), directory.clock())

    return (list_keys, create_key, show_key, change_key, rotate_key, revoke_key)
