"""Registers `bench`, the command `moegate bench`: how fast an endpoint is, or which of two is faster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import hookimpl
from plugins.bench.commands import commands

if TYPE_CHECKING:
    import typer


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register it."""
    return [commands]
