"""The admin routes of `replicas`: the list, one replica, and draining or resuming one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from litestar import Request, get, post
from litestar.params import PathParameter
from msgspec import Struct

from gateway import Fleet, Principal, Replica, Scope, SourceState
from gateway.errors import ClientError

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

log = structlog.get_logger("moegate.replicas")

READ = {"scope": Scope.ADMIN_READ.value}
WRITE = {"scope": Scope.ADMIN_WRITE.value}

AnyRequest = Request[Any, Any, Any]
Named = Annotated[str, PathParameter(description="A replica's name; it may hold slashes.")]


class ReplicaNotFound(ClientError):
    """No replica of the running configuration has this name."""

    status = 404
    code = "replica_not_found"


class ReplicaView(Struct, frozen=True):
    """One replica as it is now.

    Attributes:
        since_seconds: how long it has been in this state; null while it is in its first.
        slots: calls that it may have in flight at this moment, of `max_concurrent`.
        weight, tier, labels: as the configuration says, or whoever found it.
    """

    name: str
    model: str
    backend: str
    state: str
    reason: str
    since_seconds: float | None
    drained: bool
    breaker: str
    in_flight: int
    slots: int
    max_concurrent: int
    weight: float
    tier: int
    labels: Mapping[str, str]


class ReplicaList(Struct, frozen=True):
    """All replicas, in the order of the configuration."""

    data: list[ReplicaView]


class SourceList(Struct, frozen=True):
    """All sources of targets, in the order of the configuration."""

    data: list[SourceState]


class ReplicaRoutes:
    """The routes; what they do is the fleet's work."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """All routes: `/admin/v1/replicas` and what is under it, and `/admin/v1/targets`."""

        @get("/admin/v1/targets", opt=READ, name="targets_list", tags=["replicas"])
        async def list_sources() -> SourceList:
            """List the sources of targets of every model, and how each is."""
            return SourceList(list(self._fleet.target_sources()))

        @get("/admin/v1/replicas", opt=READ, name="replicas_list", tags=["replicas"])
        async def list_replicas() -> ReplicaList:
            """List the replicas of every model, and how each is."""
            return ReplicaList([view(replica) for replica in self._fleet.replicas()])

        @get("/admin/v1/replicas/{name:path}", opt=READ, name="replicas_show", tags=["replicas"])
        async def show_replica(name: Named) -> ReplicaView:
            """Show one replica."""
            return view(self._find(name.removeprefix("/")))

        @post("/admin/v1/replicas/{target:path}", opt=WRITE, name="replicas_do", tags=["replicas"], status_code=200)
        async def drain_or_resume(request: AnyRequest, target: Named) -> ReplicaView:
            """`NAME/drain` places no more calls on a replica, what runs may end; `NAME/resume` places calls there again."""
            name, _, verb = target.removeprefix("/").rpartition("/")
            if verb not in ("drain", "resume"):
                raise ReplicaNotFound("There is NAME/drain and NAME/resume to post to.")
            replica = self._find(name)
            principal: Principal = request.scope["state"]["principal"]
            log.info("asked for", what=verb, replica=replica.name, key=principal.key_id, tenant=principal.tenant)
            (self._fleet.drain if verb == "drain" else self._fleet.resume)(replica)
            return view(replica)

        return [list_sources, list_replicas, show_replica, drain_or_resume]

    def _find(self, name: str) -> Replica:
        for replica in self._fleet.replicas():
            if replica.name == name:
                return replica
        raise ReplicaNotFound(f"There is no replica {name[:128]!r}.")


def view(replica: Replica) -> ReplicaView:
    """A replica as it is now."""
    return ReplicaView(
        name=replica.name,
        model=replica.model,
        backend=replica.backend,
        state=replica.state.value,
        reason=replica.state_reason,
        since_seconds=round(time.monotonic() - replica.changed_at, 1) if replica.changed_at else None,
        drained=replica.drained,
        breaker=replica.breaker,
        in_flight=replica.in_flight,
        slots=replica.slots,
        max_concurrent=replica.max_concurrent,
        weight=replica.weight,
        tier=replica.tier,
        labels=replica.labels,
    )
