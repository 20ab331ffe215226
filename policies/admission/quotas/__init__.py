"""Registers the policy `quotas`, and what belongs to it: its service, `GET /v1/quota`, `moegate quota`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import AdmissionPolicy, BuildContext, Dimension, Extension, NoSettings, RouteProvider, Service, hookimpl
from gateway.contracts.store import BudgetStore
from gateway.errors import ConfigError
from policies.admission.quotas.accounts import Accounts
from policies.admission.quotas.commands import commands
from policies.admission.quotas.counts import QuotaCounts
from policies.admission.quotas.currencies import mixture
from policies.admission.quotas.exchanger import Exchanger
from policies.admission.quotas.plans import Plans
from policies.admission.quotas.policy import Quotas
from policies.admission.quotas.rules import rules_of
from policies.admission.quotas.service import QuotaService
from policies.admission.quotas.settings import QuotasSettings

if TYPE_CHECKING:
    import typer


class Node:
    """What outlives a reload: what this node holds of budgets, whose they are, and what was decided.

    Attributes:
        building: the service of the runtime that is being built, which its policy will be told to.
    """

    def __init__(self) -> None:
        self.building: QuotaService | None = None
        self.counts = QuotaCounts()
        self.accounts = Accounts(time.monotonic, time.time)
        self.exchanger: Exchanger | None = None

    def speak_to(self, store: BudgetStore) -> Exchanger:
        """The way to a store; another store than before has other budgets."""
        if self.exchanger is None or self.exchanger.store is not store:
            self.accounts = Accounts(time.monotonic, time.time)
            self.exchanger = Exchanger(store, time.monotonic)
        return self.exchanger

    async def aclose(self) -> None:
        """Tell what was settled last."""
        if self.exchanger is not None:
            await self.exchanger.close()


def _node(context: BuildContext) -> Node:
    return context.shared(("quotas",), Node)


def _build_service(_: NoSettings, context: BuildContext) -> QuotaService:
    service = QuotaService(context.models)
    _node(context).building = service
    return service


def _build(settings: QuotasSettings, context: BuildContext) -> AdmissionPolicy:
    rules, problems = rules_of(settings.limits)
    problems += [
        f"limit {rule.name!r} counts cost, and model {model.name!r} has no `prices`"
        for rule in rules
        if rule.limit.dimension is Dimension.COST
        for model in context.models
        if model.prices is None and rule.may_hold_for(model.name)
    ]
    problems += [found for rule in rules if (found := mixture(rule, context.models)) is not None]
    node = _node(context)
    if node.building is not None and node.building.policy is not None:
        problems.append("it stands twice; put all limits into one list")
    if problems:
        raise ConfigError(*problems)
    exchanger = node.speak_to(context.store)
    policy = Quotas(
        Plans(rules, node.accounts, context.models), exchanger, context.tokens, settings.exact_bytes, node.counts
    )
    if node.building is not None:
        node.building.policy = policy
    return policy


_SERVICE = Extension("quotas", NoSettings, _build_service, automatic=True)


@hookimpl
def moegate_admission_policies() -> Iterable[Extension[AdmissionPolicy]]:
    """Register the policy."""
    return [Extension("quotas", QuotasSettings, _build)]


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register what keeps slices in step."""
    return [_SERVICE]


@hookimpl
def moegate_routes() -> Iterable[Extension[RouteProvider]]:
    """Register `GET /v1/quota`."""
    return [_SERVICE]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate quota`."""
    return [commands]
