"""The routes for products and their people: `GET /v1/attribution` and `GET /licences`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from litestar import MediaType, Response, get
from litestar.params import QueryParameter

from gateway.errors import InvalidRequest, ModelNotFound
from policies.attribution.model_licence.page import Listed, page
from policies.attribution.model_licence.snippet import Shown, snippet

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

ModelName = Annotated[str, QueryParameter(max_length=128, description="The name or an alias of a served model.")]
Format = Annotated[
    str,
    QueryParameter(description="`html` or `text`: a piece of it, ready to be shown; `json`, or nothing: both of them."),
]


FORMATS = ("json", "html", "text")


class Listing(Protocol):
    """Who knows the models."""

    @property
    def listed(self) -> Sequence[Listed]:
        """All of them, in the order of the configuration."""


def handlers(listing: Listing, *, public: bool) -> Sequence[ControllerRouterHandler]:
    """Both; without a key where they are public."""
    opt: dict[str, Any] = {"public": True} if public else {}

    @get("/v1/attribution", opt=opt, name="show_attribution", sync_to_thread=False)
    def show_attribution(model: ModelName, format: Format = "json") -> Response[bytes]:  # noqa: A002 - as the query has it
        """What a product that uses a model has to show, ready to be shown."""
        if format not in FORMATS:
            raise InvalidRequest(f"format must be one of {', '.join(FORMATS)}.", param="format")
        found = next((each for each in listing.listed if model in (each.model, *each.aliases)), None)
        if found is None:
            raise ModelNotFound(f"The model {model!r} does not exist.", param="model")
        shown = shown_of(found)
        words = snippet(shown)
        if format == "text":
            return _response(words.text.encode(), MediaType.TEXT)
        if format == "html":
            return _response(words.html.encode(), MediaType.HTML)
        content = {
            "object": "attribution",
            "model": found.model,
            "strings": shown,
            "text": words.text,
            "html": words.html,
        }
        return _response(msgspec.json.encode(content), MediaType.JSON)

    @get("/licences", opt=opt, name="show_licences", sync_to_thread=False)
    def show_licences() -> Response[bytes]:
        """A plain page: the models, what their licences ask for, and what to show."""
        return _response(page(listing.listed).encode(), MediaType.HTML)

    return [show_attribution, show_licences]


def shown_of(listed: Listed) -> list[Shown]:
    """The strings to show for a model."""
    return [
        Shown(record.id, record.display.string, record.source)
        for record in (descent.record for descent in listed.descents)
        if record is not None and record.display is not None
    ]


def _response(content: bytes, media_type: MediaType) -> Response[bytes]:
    # A page of ours holds no script, and none may be put into it.
    headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(content, media_type=media_type, headers=headers)
