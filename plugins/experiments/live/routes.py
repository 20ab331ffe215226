"""The admin routes of experiments: the list, one of them with its verdicts, declaring one, stopping one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import structlog
from litestar import MediaType, Request, Response, Router, get, post
from litestar.params import PathParameter

from gateway import Principal, Scope
from plugins.experiments.live.failures import ExperimentRefused, ExperimentsUnkept
from plugins.experiments.live.settings import ExperimentSettings
from plugins.experiments.live.store import OUTAGES
from plugins.experiments.live.views import row_of

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from plugins.experiments.live.experiments import Experiments

log = structlog.get_logger("moegate.experiments")

MOST_BODY_BYTES = 65_536
READ = {"scope": Scope.ADMIN_READ.value}
WRITE = {"scope": Scope.ADMIN_WRITE.value}
Name = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="An experiment's name.")]


def handlers(experiments: Experiments) -> Sequence[ControllerRouterHandler]:
    """All routes."""

    @get("/", opt=READ, name="experiments_list")
    async def list_experiments() -> Response[bytes]:
        """List the experiments, how each stands, and how many calls each arm has had on this node."""
        return _json({"data": [row_of(standing, time.time()) for standing in experiments.standings()]})

    @get("/{name:str}", opt=READ, name="experiments_show")
    async def show_experiment(name: Name) -> Response[bytes]:
        """Show one experiment: its arms' figures and a verdict for each endpoint; it may be looked at as often as one likes."""
        return _json(await experiments.show(name))

    @post("/", opt=WRITE, name="experiments_create", status_code=201)
    async def create_experiment(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Declare an experiment, as it would stand in the configuration. It begins at once, or at its `start`."""
        try:
            settings = msgspec.json.decode(await request.body(), type=ExperimentSettings)
        except msgspec.DecodeError as error:
            raise ExperimentRefused(f"The body is no experiment: {error}.") from error
        try:
            standing = await experiments.create(settings)
        except OUTAGES as error:
            raise ExperimentsUnkept("The experiment cannot be written down now, so it was not declared.") from error
        _say("declared", request, settings.name)
        return _json(row_of(standing, time.time()), status=201)

    @post(
        "/{name:str}/stop",
        opt=WRITE,
        name="experiments_stop",
        tags=["experiments"],
        status_code=200,
    )
    async def stop_experiment(request: Request[Any, Any, Any], name: Name) -> Response[bytes]:
        """Let no call join an experiment any more, on any node; what it has found stays. It cannot be taken up again."""
        principal: Principal = request.scope["state"]["principal"]
        try:
            standing = await experiments.stop(name, f"stopped by key {principal.key_id}")
        except OUTAGES as error:
            raise ExperimentsUnkept("It is stopped here; other nodes learn of it when the database is back.") from error
        _say("stopped", request, name)
        return _json(row_of(standing, time.time()))

    # One router: GET and POST of one path would collide as two.
    return [
        Router(
            "/admin/v1/experiments",
            route_handlers=[list_experiments, show_experiment, create_experiment, stop_experiment],
            request_max_body_size=MOST_BODY_BYTES,
            tags=["experiments"],
        )
    ]


def _say(what: str, request: Request[Any, Any, Any], name: str) -> None:
    principal: Principal = request.scope["state"]["principal"]
    log.info("asked for", what=what, experiment=name, key=principal.key_id, tenant=principal.tenant)


def _json(content: Any, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(content, enc_hook=float), status_code=status, media_type=MediaType.JSON)
