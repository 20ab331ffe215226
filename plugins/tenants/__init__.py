"""Registers `tenants`: authenticator, service and admin routes in one, with its tables and its commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import Authenticator, Extension, RouteProvider, Schema, Service, hookimpl
from plugins.tenants.commands import commands
from plugins.tenants.key_commands import key_commands
from plugins.tenants.service import Tenants, TenantsSettings, build
from plugins.tenants.tables import schema

if TYPE_CHECKING:
    import typer

# One object for three hooks: it is built once, and what it knows is known to all three.
_TENANTS: Extension[Tenants] = Extension("tenants", TenantsSettings, build)


@hookimpl
def moegate_authenticators() -> Iterable[Extension[Authenticator]]:
    """Register the authenticator."""
    return [_TENANTS]


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register what keeps it fresh."""
    return [_TENANTS]


@hookimpl
def moegate_routes() -> Iterable[Extension[RouteProvider]]:
    """Register the admin routes."""
    return [_TENANTS]


@hookimpl
def moegate_schemas() -> Iterable[Schema]:
    """Register the tables."""
    return [schema]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate tenants`, and more of `moegate keys`."""
    return [commands, key_commands]
