"""Registers `experiments`: backends compared on live calls, and by replay (`moegate compare`).

What either needs (numpy, jsonschema, matplotlib) is loaded when an experiment is declared, or a comparison asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import Assigner, BuildContext, Extension, RouteProvider, Schema, Service, hookimpl
from plugins.experiments.compare.commands import commands as compare_commands
from plugins.experiments.live.commands import commands as experiment_commands
from plugins.experiments.live.settings import ExperimentsSettings
from plugins.experiments.live.tables import schema

if TYPE_CHECKING:
    import typer

    from plugins.experiments.live.experiments import Experiments


def _build(settings: ExperimentsSettings, context: BuildContext) -> Experiments:
    from plugins.experiments.live.experiments import build  # noqa: PLC0415 - see above

    return build(settings, context)


# One object for all hooks: it is built once, and the routes show what the assigner and the service have.
_EXTENSION: Extension[Experiments] = Extension("experiments", ExperimentsSettings, _build)


@hookimpl
def moegate_assigners() -> Iterable[Extension[Assigner]]:
    """Register what puts calls into arms."""
    return [_EXTENSION]


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register the service that counts, watches and keeps."""
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
    """Register `moegate compare` and `moegate experiments`."""
    return [compare_commands, experiment_commands]
