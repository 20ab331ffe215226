"""Registers `replicas`: who serves and how it is, and draining one; as admin routes and as `moegate replicas`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import BuildContext, Extension, NoSettings, RouteProvider, hookimpl
from plugins.replicas.commands import commands
from plugins.replicas.routes import ReplicaRoutes

if TYPE_CHECKING:
    import typer


def _build(_: NoSettings, context: BuildContext) -> RouteProvider:
    return ReplicaRoutes(context.fleet)


@hookimpl
def moegate_routes() -> Iterable[Extension[RouteProvider]]:
    """Register the admin routes."""
    return [Extension("replicas", NoSettings, _build)]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate replicas`."""
    return [commands]
