"""Keeps account of every call: a journal on disk first, then SQL, daily sums, usage and statements."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import CallTransform, Extension, Journal, RouteProvider, Schema, Service, hookimpl
from plugins.ledger.commands import commands
from plugins.ledger.ledger import build
from plugins.ledger.settings import LedgerSettings
from plugins.ledger.tables import schema

if TYPE_CHECKING:
    import typer

# One object for all hooks: it is built once, and each of its kinds knows the others.
_EXTENSION = Extension("ledger", LedgerSettings, build)


@hookimpl
def moegate_journals() -> Iterable[Extension[Journal]]:
    """Register the journal."""
    return [_EXTENSION]


@hookimpl
def moegate_call_transforms() -> Iterable[Extension[CallTransform]]:
    """Register the door: a call passes only if there is room to write it down."""
    return [_EXTENSION]


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register the service that ships."""
    return [_EXTENSION]


@hookimpl
def moegate_routes() -> Iterable[Extension[RouteProvider]]:
    """Register the admin routes."""
    return [_EXTENSION]


@hookimpl
def moegate_schemas() -> Iterable[Schema]:
    """Register the tables."""
    return [schema]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate usage`."""
    return [commands]
