"""Registers `moegate compare` of the plugin `experiments`: backends compared; what it needs is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import hookimpl
from plugins.experiments.compare.commands import commands

if TYPE_CHECKING:
    import typer


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate compare`."""
    return [commands]
