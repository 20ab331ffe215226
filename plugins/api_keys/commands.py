"""`moegate keys`: makes keys; prints a secret only when it makes one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.contracts.keys import generate_key, parse_key

commands = typer.Typer(name="keys", help="Make, list, rotate and revoke API keys.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """Keep `generate` a sub-command although it is the only one."""


@commands.command()
def generate(
    file: Annotated[
        Path | None, typer.Option(help="Keep the key in this file (mode 0600); a key that is there already stays.")
    ] = None,
) -> None:
    """Make a key. It is shown once and stored nowhere, unless you name a file."""
    if file is None:
        typer.echo(generate_key())
        return
    try:
        typer.echo(key_in(file))
    except ValueError as error:
        typer.echo(f"moegate: {error}", err=True)
        raise typer.Exit(1) from None


def key_in(file: Path) -> str:
    """The key that a file holds; made and written first if there is no such file.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        found = file.read_text().strip()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        key = generate_key()
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(key + "\n")
        return key
    if parse_key(found) is None:
        raise ValueError(f"{file} does not hold a key; remove it, and a new one is made")
    return found
