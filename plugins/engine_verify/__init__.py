"""Registers `moegate engines verify`, which shows whether a model's replicas serve the same weights, and its settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import BuildContext, Extension, Service, hookimpl
from plugins.engine_verify.commands import Verification, commands
from plugins.engine_verify.settings import EngineVerifySettings

if TYPE_CHECKING:
    import typer


def _build(settings: EngineVerifySettings, _: BuildContext) -> Service:
    return Verification(settings)


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register what holds the settings."""
    return [Extension("engine_verify", EngineVerifySettings, _build, automatic=True)]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate engines verify`."""
    return [commands]
