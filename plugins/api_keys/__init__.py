"""Registers the `api_keys` authenticator and the `moegate keys` commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway import Authenticator, Extension, hookimpl
from plugins.api_keys.authenticator import ApiKeysSettings, build
from plugins.api_keys.commands import commands

if TYPE_CHECKING:
    import typer


@hookimpl
def moegate_authenticators() -> Iterable[Extension[Authenticator]]:
    """Register the authenticator."""
    return [Extension("api_keys", ApiKeysSettings, build)]


@hookimpl
def moegate_commands() -> Iterable[typer.Typer]:
    """Register `moegate keys`."""
    return [commands]
