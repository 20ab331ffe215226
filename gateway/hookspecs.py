"""The fifteen hooks by which a plugin registers what it brings; called once, at start-up, never on a call's way.

Each takes nothing and returns declarations. Which of them run, and in what order, is the configuration's to say: what is
registered and not named there costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from gateway.contracts.assigning import Assigner
from gateway.contracts.backend import Backend
from gateway.contracts.database import Schema
from gateway.contracts.plugin import Authenticator, CallTransform, Extension, Journal, Recorder, RouteProvider, Service
from gateway.contracts.policy import AdmissionPolicy, AttributionPolicy, RoutingPolicy
from gateway.contracts.store import BudgetStore
from gateway.contracts.targets import TargetSource

if TYPE_CHECKING:
    import typer

PROJECT = "moegate"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def moegate_backends() -> Iterable[Extension[Backend]]:  # type: ignore[empty-body]
    """Give kinds of engine.

    Called once when the registry is built. A backend is built once per replica that says `backend: NAME`, with the
    replica's `options:` as its settings.
    """


@hookspec
def moegate_admission_policies() -> Iterable[Extension[AdmissionPolicy]]:  # type: ignore[empty-body]
    """Give policies that say whether a call may run.

    Called once when the registry is built. Run per call in the order of `policies.admission`, after the caller is
    known; their leases are settled in reverse order when the call is over.
    """


@hookspec
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:  # type: ignore[empty-body]
    """Give policies that keep, drop or reorder replicas.

    Called once when the registry is built. Run per call in the order of `policies.routing`, or of the model's own
    `routing`, each on the list that its predecessor left, after admission.
    """


@hookspec
def moegate_attribution_policies() -> Iterable[Extension[AttributionPolicy]]:  # type: ignore[empty-body]
    """Give policies that say what must be shown for the weights that serve.

    Called once when the registry is built. Run per attempt in the order of `policies.attribution`, after routing and
    before the first byte reaches the client.
    """


@hookspec
def moegate_authenticators() -> Iterable[Extension[Authenticator]]:  # type: ignore[empty-body]
    """Give ways to know a caller.

    Called once when the registry is built. Asked per request in the order of `plugins`; the first that knows the
    caller wins, and a request that none knows is refused.
    """


@hookspec
def moegate_journals() -> Iterable[Extension[Journal]]:  # type: ignore[empty-body]
    """Give journals, which write down each call before it is let go.

    Called once when the registry is built. Run at the end of each call in the order of `plugins`, before its leases
    are settled and before it is handed to the recorders.
    """


@hookspec
def moegate_schemas() -> Iterable[Schema]:  # type: ignore[empty-body]
    """Give the tables that a plugin keeps in the SQL database, with their history.

    Called once when the registry is built, if the configuration uses the database at all. SQLite is brought up to date
    at each start; PostgreSQL by `moegate db upgrade`.
    """


@hookspec
def moegate_stores() -> Iterable[Extension[BudgetStore]]:  # type: ignore[empty-body]
    """Give stores of budgets that several processes share.

    Called once when the registry is built. A store's name is the scheme of the URL in `state:`, and that URL is its
    only setting (`StoreSettings`). It is built if a policy asks for it.
    """


@hookspec
def moegate_target_sources() -> Iterable[Extension[TargetSource]]:  # type: ignore[empty-body]
    """Give sources of targets, which find a model's engines and tell when they come and go.

    Called once when the registry is built. A source is built once per entry of a model's `targets`, and runs as long as
    that entry stays what it is, over reloads.
    """


@hookspec
def moegate_recorders() -> Iterable[Extension[Recorder]]:  # type: ignore[empty-body]
    """Give keepers or exporters of what happened.

    Called once when the registry is built. Each finished call is handed to them from a bounded queue, off its way.
    """


@hookspec
def moegate_call_transforms() -> Iterable[Extension[CallTransform]]:  # type: ignore[empty-body]
    """Give changes to calls, such as a shortened history.

    Called once when the registry is built. Run per call in the order of `plugins`, after the caller is known and
    before admission.
    """


@hookspec
def moegate_assigners() -> Iterable[Extension[Assigner]]:  # type: ignore[empty-body]
    """Give what runs experiments.

    Called once when the registry is built. Asked per call in the order of `plugins`, after admission and before routing; the
    first that puts the call into an arm keeps routing inside it.
    """


@hookspec
def moegate_services() -> Iterable[Extension[Service]]:  # type: ignore[empty-body]
    """Give background tasks.

    Called once when the registry is built. A service that `plugins` names, or that is automatic, is started with each
    runtime and cancelled when that runtime is replaced or the gateway stops.
    """


@hookspec
def moegate_routes() -> Iterable[Extension[RouteProvider]]:  # type: ignore[empty-body]
    """Give HTTP routes.

    Called once when the registry is built. The routes of providers that `plugins` names are mounted with each runtime;
    they ask for a key unless a handler says `opt={"public": True}`.
    """


@hookspec
def moegate_commands() -> Iterable[typer.Typer]:  # type: ignore[empty-body]
    """Give commands for the `moegate` command line.

    Called once when the command line starts. Each Typer must have a name, which becomes the sub-command.
    """
