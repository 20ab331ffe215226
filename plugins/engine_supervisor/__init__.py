"""Starts the engines that the configuration says to `launch:`, and keeps them running; brings `moegate engines`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import Extension, Service, hookimpl
from plugins.engine_supervisor.commands import commands
from plugins.engine_supervisor.supervisor import SupervisorSettings, build

if TYPE_CHECKING:
    import typer


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register the service; it runs whether named or not."""
    return [Extension("engine_supervisor", SupervisorSettings, build, automatic=True)]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate engines`."""
    return [commands]
