"""Builds models, replicas and pools from settings; opens no connection and starts no engine."""

from __future__ import annotations

import hashlib
import math

import msgspec
from msgspec import Raw

from gateway.composition.context import Builder
from gateway.config_file import Path
from gateway.contracts.backend import Backend, LaunchPlan, Replica
from gateway.contracts.call import Model
from gateway.contracts.plugin import LaunchedReplica
from gateway.contracts.secret import Secret
from gateway.errors import ConfigError
from gateway.fleet.condition import Condition
from gateway.fleet.hedges import Hedges
from gateway.fleet.metrics import FleetMeter
from gateway.fleet.pool import Member, Pool
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.fleet.retries import Retries
from gateway.fleet.target_sources import TargetSources
from gateway.registry import Kind
from gateway.settings import ModelSettings, ReplicaSettings, ReplicaTimeoutSettings, Settings, TimeoutSettings
from gateway.upstream import HeaderBlock, Origin, Timeouts, encode_headers
from gateway.validation import Invalid, readable

Launch = tuple[LaunchPlan, float]
"""How to start an engine, and how long it may take to get ready, in seconds."""


def build_fleet(settings: Settings, builder: Builder, sources: TargetSources | None = None) -> PooledFleet:
    """Build every pool; faults are noted with the builder, and what they concern is left out."""
    _check_names(settings, builder)
    configured = list(readable(settings.models))
    models = [_model(model) for _, model in configured]
    builder.models = models
    pools, launched = [], []
    for (index, settings_of_model), model in zip(configured, models, strict=True):
        members = []
        for position, replica in readable(settings_of_model.replicas):
            path = ("models", index, "replicas", position)
            built = _ReplicaBuilder(builder, settings_of_model, model, replica, path).build()
            if built is None:
                continue
            member, launch = built
            members.append(member)
            if launch is not None:
                launched.append(LaunchedReplica(member.replica, *launch))
        pools.append(
            Pool(
                model,
                members,
                settings_of_model.max_attempts,
                _retries(settings_of_model, builder),
                _hedges(settings_of_model, builder),
            )
        )
    fleet = PooledFleet(pools, launched, builder.shared(("drained",), set), sources)
    builder.meters.add("fleet", FleetMeter(fleet))
    return fleet


def _model(settings: ModelSettings) -> Model:
    return Model(
        settings.name,
        tuple(settings.aliases),
        settings.checkpoint,
        {name: Raw(msgspec.json.encode(value)) for name, value in settings.defaults.items()},
        tuple(settings.reasoning_fields),
        settings.prices,
        settings.tokenizer,
    )


def _retries(model: ModelSettings, builder: Builder) -> Retries:
    """The budget of one model; it and its counts go on over a reload that does not change it."""
    settings = model.retries
    key = ("retries", model.name, msgspec.json.encode(settings).decode())
    return builder.shared(key, lambda: Retries(settings))


def _hedges(model: ModelSettings, builder: Builder) -> Hedges | None:
    settings = model.hedge
    key = ("hedges", model.name, msgspec.json.encode(settings).decode())
    return builder.shared(key, lambda: Hedges(settings)) if settings.enabled else None


def _check_names(settings: Settings, builder: Builder) -> None:
    """A name leads to one thing: model names and aliases share one space, replica names another."""
    problem = builder.validator.problem
    seen: dict[str, set[str]] = {"model": set(), "replica": set()}

    def take(kind: str, name: str, path: Path) -> None:
        if name in seen[kind]:
            problem(path, f"{name!r} is the name of another {kind} already")
        seen[kind].add(name)

    if not settings.models:
        problem(("models",), "at least one model is needed")
    for index, model in readable(settings.models):
        path: Path = ("models", index)
        take("model", model.name, (*path, "name"))
        for position, alias in readable(model.aliases):
            take("model", alias, (*path, "aliases", position))
        if not model.replicas and not model.targets:
            problem((*path, "replicas"), "a model needs at least one replica")
        for position, replica in readable(model.replicas):
            take("replica", replica.name, (*path, "replicas", position, "name"))


class _ReplicaBuilder:
    """Builds one replica: its backend, its launch plan if it has one, and its member entry."""

    def __init__(
        self, builder: Builder, parent: ModelSettings, model: Model, configured: ReplicaSettings, path: Path
    ) -> None:
        self._builder = builder
        self._parent = parent
        self._model = model
        self._configured = configured
        self._path = path

    def build(self) -> tuple[Member, Launch | None] | None:
        """Return the member, and how the engine is started if the gateway is to do that; None if something is wrong."""
        backend = self._backend()
        if (self._configured.url is None) == (self._configured.launch is None):
            self._problem((), "a replica has either `url` (it runs already) or `launch` (the gateway starts it)")
            return None
        if backend is None:
            return None
        launch = self._launch(backend) if self._configured.launch is not None else None
        url = launch[0].url if launch is not None else self._configured.url
        if url is None:
            return None
        try:
            origin, base_path = Origin.parse(url)
        except ValueError as error:
            self._problem(("url",), str(error))
            return None
        if base_path.rstrip("/").endswith("/v1"):
            self._problem(("url",), "must not end in /v1; the gateway adds the path of each operation itself")
            return None
        headers = self._headers()
        if headers is None:
            return None
        condition = self._condition(backend, url, launch[0] if launch is not None else None)
        return self._member(condition, backend, origin, base_path, headers), launch

    def _headers(self) -> HeaderBlock | None:
        try:
            return encode_headers(authorization(self._configured.api_key))
        except ValueError:
            self._problem(("api_key",), "holds a character that a header must not hold, such as a line end")
            return None

    def _backend(self) -> Backend | None:
        try:
            extension = self._builder.registry.get(Kind.BACKEND, self._configured.backend)
        except ConfigError as error:
            self._problem(("backend",), error.message)
            return None
        built: Backend | None = self._builder.build(extension, self._configured.options, (*self._path, "options"))
        return built

    def _launch(self, backend: Backend) -> Launch | None:
        path = (*self._path, "launch")
        if backend.launcher is None:
            self._problem(("launch",), f"the gateway cannot start a {backend.kind} engine; give its `url`")
            return None
        launch = self._builder.validator.extension_settings(self._configured.launch, backend.launcher.settings, path)
        if isinstance(launch, Invalid):
            return None
        try:
            plan = backend.launcher.plan(
                launch, served_model=self._served_model, max_concurrent=self._configured.max_concurrent
            )
        except ConfigError as error:
            for problem in error.problems:
                self._problem(("launch",), problem)
        except Exception as error:  # noqa: BLE001 - a stranger's backend; its fault belongs in the list with the others
            self._problem(("launch",), f"{backend.kind} cannot be launched: {error!r}")
        else:
            return plan, launch.ready_seconds
        return None

    def _condition(self, backend: Backend, url: str, plan: LaunchPlan | None) -> Condition:
        configured, checkpoint = self._configured, self._configured.checkpoint or self._model.checkpoint
        replica = Replica(
            name=configured.name,
            model=self._model.name,
            backend=backend.kind,
            url=url.rstrip("/"),
            served_model=self._served_model,
            checkpoint=checkpoint,
            operations=backend.operations,
            capabilities=backend.capabilities,
            context_length=configured.context_length or checkpoint.context_length,
            max_concurrent=configured.max_concurrent,
        )
        # An unchanged replica keeps its state and its calls in flight over a reload; one whose engine is started
        # otherwise has another engine, though it may have the same address.
        condition = self._builder.shared(("replica", _digest(replica, plan)), lambda: Condition(replica))
        condition.adopt(self._parent.breaker)
        # What may change of one and the same engine.
        kept = condition.replica
        kept.weight, kept.tier, kept.labels = configured.weight, configured.tier, configured.labels
        return condition

    def _member(
        self, condition: Condition, backend: Backend, origin: Origin, base_path: str, headers: HeaderBlock
    ) -> Member:
        replica = condition.replica
        return Member(
            replica=replica,
            condition=condition,
            backend=backend,
            origin=origin,
            base_path=base_path.rstrip("/"),
            timeouts=timeouts_of(self._parent.timeouts, self._configured.timeouts),
            headers=headers,
            labels=(
                (b"x-moegate-backend", backend.kind.encode()),
                (b"x-moegate-replica", replica.name.encode()),
            ),
        )

    @property
    def _served_model(self) -> str:
        return self._configured.served_model or self._model.name

    def _problem(self, path: Path, text: str) -> None:
        self._builder.validator.problem((*self._path, *path), text)


def timeouts_of(model: TimeoutSettings, replica: ReplicaTimeoutSettings) -> Timeouts:
    """The timeouts of one replica; none is longer than an attempt may take in all."""

    def longest(seconds: float | None, otherwise: float) -> float:
        return min(otherwise if seconds is None else seconds, total or math.inf)

    total = model.total_seconds if replica.total_seconds is None else replica.total_seconds
    return Timeouts(
        connect_seconds=longest(replica.connect_seconds, model.connect_seconds),
        first_byte_seconds=longest(replica.first_byte_seconds, model.first_byte_seconds),
        idle_seconds=longest(replica.idle_seconds, model.idle_seconds),
        total_seconds=total,
    )


def authorization(key: Secret | None) -> tuple[tuple[bytes, bytes], ...]:
    """The headers by which an engine knows us."""
    return ((b"authorization", b"Bearer " + key.reveal().encode()),) if key is not None else ()


def _digest(replica: Replica, plan: LaunchPlan | None) -> str:
    """All that the configuration says of a replica, as one string; a plan's environment may hold secrets."""
    return hashlib.sha256(msgspec.json.encode((replica, plan), order="deterministic")).hexdigest()
