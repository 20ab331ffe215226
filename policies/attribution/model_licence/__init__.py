"""Registers the policy `model_licence`, and what belongs to it: products and their history, routes, `moegate licences`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import AttributionPolicy, Extension, NoSettings, RouteProvider, Schema, Service, hookimpl
from policies.attribution.model_licence.building import NAME, build_policy, build_service
from policies.attribution.model_licence.commands import commands
from policies.attribution.model_licence.product_commands import product_commands
from policies.attribution.model_licence.settings import ModelLicenceSettings
from policies.attribution.model_licence.tables import schema

if TYPE_CHECKING:
    import typer

# One object for two hooks; it has nothing to do where the policy is not configured.
_SERVICE = Extension(NAME, NoSettings, build_service, automatic=True)


@hookimpl
def moegate_attribution_policies() -> Iterable[Extension[AttributionPolicy]]:
    """Register the policy."""
    return [Extension(NAME, ModelLicenceSettings, build_policy)]


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register what keeps products fresh."""
    return [_SERVICE]


@hookimpl
def moegate_routes() -> Iterable[Extension[RouteProvider]]:
    """Register the routes."""
    return [_SERVICE]


@hookimpl
def moegate_schemas() -> Iterable[Schema]:
    """Register the tables."""
    return [schema]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate licences` and `moegate products`."""
    return [commands, product_commands]
