"""Registers `decisions`: why each call went where it went, for recent calls and a sample of all; `moegate why`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import Extension, Recorder, RouteProvider, Schema, Service, hookimpl
from plugins.decisions.commands import commands
from plugins.decisions.decisions import Decisions, build
from plugins.decisions.settings import DecisionsSettings
from plugins.decisions.tables import schema

if TYPE_CHECKING:
    import typer

# One object for all hooks: it is built once, and the route shows what the recorder kept.
_EXTENSION: Extension[Decisions] = Extension("decisions", DecisionsSettings, build)


@hookimpl
def moegate_recorders() -> Iterable[Extension[Recorder]]:
    """Register the recorder."""
    return [_EXTENSION]


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register the service that writes the sample."""
    return [_EXTENSION]


@hookimpl
def moegate_routes() -> Iterable[Extension[RouteProvider]]:
    """Register the admin route."""
    return [_EXTENSION]


@hookimpl
def moegate_schemas() -> Iterable[Schema]:
    """Register the table."""
    return [schema]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate why`."""
    return [commands]
