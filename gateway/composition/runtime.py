"""One built configuration with a life: its services start with it, its calls outlast its replacement, then it lets go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import httpx
import structlog
from litestar import Litestar
from litestar.exceptions import ImproperlyConfiguredException

from gateway.composition.context import Builder
from gateway.composition.extensions import Named, build_plugins, build_policies
from gateway.composition.fleet import authorization, build_fleet
from gateway.composition.mirrors import build_mirroring
from gateway.composition.routing import build_routing, routing_entries
from gateway.composition.state import SharedState
from gateway.composition.targets import with_targets
from gateway.config_file import Document
from gateway.contracts.backend import Probe, Replica
from gateway.contracts.commands import ReplicaAccess
from gateway.contracts.database import Database
from gateway.contracts.plugin import Service
from gateway.contracts.policy import Describing
from gateway.dataplane.accounting import Accounting
from gateway.dataplane.assigning import Assigning
from gateway.dataplane.bookkeeping import Bookkeeping
from gateway.dataplane.copying import Copying
from gateway.dataplane.forwarder import Forwarder
from gateway.dataplane.recording import Recording
from gateway.dataplane.serving import Serving
from gateway.dataplane.shadowing import Shadowing
from gateway.dataplane.watching import watchers_of
from gateway.errors import ConfigError
from gateway.fleet.health import HealthMonitor
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.http.inference import Door, Inference, Limits
from gateway.http.routes import build_app
from gateway.registry import Kind, Registry
from gateway.settings import Entry, Settings
from gateway.shared import SharedObjects
from gateway.upstream import ConnectionPool
from gateway.upstream import Limits as UpstreamLimits
from gateway.validation import INVALID, Validator

log = structlog.get_logger("moegate.runtime")

MAX_RESTART_SECONDS = 30.0
FLUSH_SECONDS = 5.0


class Runtime:
    """What serves calls until the next reload."""

    def __init__(  # noqa: PLR0913, PLR0917 - one for each part
        self,
        settings: Settings,
        fleet: PooledFleet,
        app: Litestar,
        inference: Inference,
        serving: Serving,
        services: Sequence[Named],
        builder: Builder,
    ) -> None:
        self.settings = settings
        self.fleet = fleet
        self.app = app
        self.inference = inference
        self.in_flight = 0
        self._serving = serving
        self._recording = serving.books.recording
        self._services = tuple(services)
        self._builder = builder
        self._tasks: list[asyncio.Task[None]] = []
        self._recorder: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._retiring = False
        self._probes: httpx.AsyncClient | None = None

    def service(self, name: str) -> Service | None:
        """What the plugin of that name built as a service."""
        return dict(self._services).get(name)

    @property
    def routing(self) -> Sequence[Entry]:
        """The routing policies of models that have none of their own, as the configuration names them or would."""
        return routing_entries(self.settings, self._builder.registry)

    async def database(self) -> Database:
        """The database, its tables looked at; see `OpenConfiguration.database`."""
        state = self._builder.state
        found = state.database
        await state.prepare()
        return found

    def access(self) -> list[ReplicaAccess]:
        """What it takes to ask each replica directly; see `OpenConfiguration.access`."""
        keys = {replica.name: replica.api_key for model in self.settings.models for replica in model.replicas}
        return [
            ReplicaAccess(
                replica=member.replica,
                model=pool.model,
                backend=member.backend,
                headers=authorization(keys[member.replica.name]),
                connect_seconds=member.timeouts.connect_seconds,
                first_byte_seconds=member.timeouts.first_byte_seconds,
            )
            for pool in self.fleet.pools
            for member in pool.members
        ]

    async def look(self, replica: Replica) -> Probe:
        """Probe one replica now, for a command: a runtime need not be started for that."""
        members = (member for member in self.fleet.members() if member.replica is replica)
        return await HealthMonitor(self.fleet, self._probe_client()).look(next(members))

    def _probe_client(self) -> httpx.AsyncClient:
        if self._probes is None:
            # trust_env off: a proxy from the environment must not come between us and our engines.
            self._probes = httpx.AsyncClient(trust_env=False, timeout=10.0)
        return self._probes

    def start(self) -> None:
        """Start services, health checks, recording, and the search for targets."""
        self.fleet.sources.start()
        health = HealthMonitor(self.fleet, self._probe_client())
        self._recorder = asyncio.create_task(self._recording.run(), name="recording")
        for name, service in (("health", health), *self._services):
            self._tasks.append(asyncio.create_task(_keep_running(name, service), name=name))

    def left(self) -> None:
        """A request is over."""
        if self._retiring and self.in_flight == 0:
            self._empty.set()

    async def retire(self) -> None:
        """Another runtime has taken over: stop the services now, and the rest when the last call is over."""
        await self._stop_services()
        self._retiring = True
        self.left()
        await self._empty.wait()
        await self._close()

    async def stop(self) -> None:
        """Stop everything; the server has ended its calls already."""
        await self._stop_services()
        await self._close()

    async def _stop_services(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _close(self) -> None:
        await self._serving.finish(FLUSH_SECONDS)
        if self._recorder is not None:
            self._recorder.cancel()
            await asyncio.gather(self._recorder, return_exceptions=True)
        if self._probes is not None:
            await self._probes.aclose()
        await self._builder.release()


async def _keep_running(name: str, service: Service) -> None:
    """A service that crashes is started again, ever more slowly; it never takes the gateway with it."""
    pause = 1.0
    while True:
        try:
            await service.run()
        except Exception:
            log.exception("service crashed", service=name, restart_seconds=pause)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_RESTART_SECONDS)


async def build_runtime(document: Document, registry: Registry, shared: SharedObjects) -> Runtime:
    """Build a runtime, or say everything that is wrong with the configuration.

    Raises:
        ConfigError: with every problem found; nothing is left held.
    """
    validator = Validator(document)
    settings = validator.struct(document.content, Settings, ())
    if settings is INVALID or not isinstance(settings, Settings):
        raise ConfigError(*validator.problems)
    builder = Builder(registry, validator, shared)
    builder.state = SharedState(settings, builder)
    try:
        runtime = _build(settings, builder)
        if validator.problems:
            raise ConfigError(*validator.problems)
        await builder.state.prepare()
    except BaseException:
        await builder.release()
        raise
    return runtime


def _build(settings: Settings, builder: Builder) -> Runtime:
    settings, sources = with_targets(settings, builder)
    fleet = build_fleet(settings, builder, sources)
    builder.fleet = fleet
    policies = settings.policies
    plugins = build_plugins(settings.plugins, builder)
    connections = builder.shared(("connections",), lambda: ConnectionPool(UpstreamLimits()))
    attribution = _policies(builder, policies.attribution, Kind.ATTRIBUTION_POLICY, "attribution")
    routing, of_models = build_routing(settings, builder)
    copying, assigners = Copying(connections), plugins[Kind.ASSIGNER]
    mirroring = build_mirroring(settings, fleet, copying, builder)
    max_answer_bytes = UpstreamLimits().max_body_bytes
    serving = Serving(
        transforms=plugins[Kind.CALL_TRANSFORM],
        admission=_policies(builder, policies.admission, Kind.ADMISSION_POLICY, "admission"),
        routing=routing,
        routing_of_models=of_models,
        forwarder=Forwarder(
            connections,
            fleet,
            attribution,
            max_answer_bytes,
            watchers=watchers_of(itertools.chain(routing, *of_models.values())),
        ),
        copying=copying if mirroring is not None or assigners else None,
        mirroring=mirroring,
        assigning=Assigning(assigners, Shadowing(copying, max_answer_bytes)) if assigners else None,
        books=Bookkeeping(Accounting(builder.tokens), plugins[Kind.JOURNAL], Recording(plugins[Kind.RECORDER])),
    )
    authenticators = [authenticator for _, authenticator in plugins[Kind.AUTHENTICATOR]]
    if not (authenticators or settings.server.anonymous or builder.validator.problems):
        builder.validator.problem(
            ("plugins",), "no plugin knows callers; add one such as api_keys, or set server.anonymous: true"
        )
    door = Door(authenticators, fleet.pools, anonymous=settings.server.anonymous)
    server = settings.server
    inference = Inference(door, serving, Limits(server.max_body_bytes, server.body_seconds, server.debug))
    try:
        handlers = _handlers(plugins[Kind.ROUTES], builder)
        describing = [policy for _, policy in attribution if isinstance(policy, Describing)]
        app = build_app(inference, door, fleet, handlers, dict(plugins[Kind.SERVICE]), describing)
    except ImproperlyConfiguredException as error:
        builder.validator.problem(("plugins",), f"two routes collide: {error.detail}")
        raise ConfigError(*builder.validator.problems) from error
    return Runtime(settings, fleet, app, inference, serving, plugins[Kind.SERVICE], builder)


def _handlers(providers: Sequence[Named], builder: Builder) -> list[Any]:
    handlers: list[Any] = []
    for name, provider in providers:
        try:
            handlers += provider.handlers
        except Exception as error:  # noqa: BLE001 - a stranger's plugin; its fault belongs in the list with the others
            builder.validator.problem(("plugins",), f"{name} cannot give its routes: {error!r}")
    return handlers


def _policies(builder: Builder, entries: Any, kind: Kind, name: str) -> list[Named]:
    return build_policies(entries, kind, ("policies", name), builder)
