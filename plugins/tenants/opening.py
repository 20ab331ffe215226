"""From a command to the directory of a configuration's database, and from its errors to an exit status."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from gateway import CommandContext
from gateway.contracts.keys import parse_key
from gateway.errors import ClientError, GatewayError
from plugins.tenants.directory import Directory
from plugins.tenants.document import instant

EXIT_FAILED = 1
EXIT_WRONG = 2

T = TypeVar("T")

DEFAULT_CONFIG = Path("moegate.yaml")
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file (YAML).")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]

_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def run(context: typer.Context, config: Path, work: Callable[[Directory], Awaitable[T]]) -> T:
    """Open a configuration, do the work on its database, and say what went wrong: exit 1, or 2 for what was asked wrongly."""

    async def opened() -> T:
        opener: CommandContext = context.obj
        async with opener.open(config) as configuration:
            return await work(Directory((await configuration.database()).engine))

    try:
        return asyncio.run(opened())
    except ClientError as error:
        fail(error.message, EXIT_WRONG if error.status == 400 else EXIT_FAILED)  # noqa: PLR2004 - see gateway.errors
    except GatewayError as error:
        if error.code == "config_error":
            raise
        fail(f"{error.public_message} ({error.message})", EXIT_FAILED)


def fail(message: str, status: int) -> NoReturn:
    """Say what is wrong and end."""
    typer.echo(f"moegate: {message}", err=True)
    raise typer.Exit(status)


def actor() -> str:
    """Who runs the command, for the audit."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in a container
        name = str(os.getuid())
    return f"command line ({name})"


def duration(text: str) -> int:
    """Seconds out of `90s`, `15m`, `24h`, `30d`, `2w` or `0`.

    Raises:
        typer.BadParameter: it is none of them.
    """
    match = _DURATION.fullmatch(text)
    if match is None and text != "0":
        raise typer.BadParameter(f"{text!r} is no length of time; write 90s, 15m, 24h, 30d, 2w or 0")
    return int(match[1]) * _UNITS[match[2]] if match else 0


def moment(text: str, now: float) -> int:
    """Seconds since 1970 out of a date, a date and a time, or a length of time from now.

    Raises:
        typer.BadParameter: it is none of them.
    """
    if _DURATION.fullmatch(text):
        return int(now) + duration(text)
    try:
        return instant(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, or a length of time such as 90d") from None


def public_id(text: str) -> str:
    """The id of a key that was given as its id, as `mg-ID`, or whole; what else it holds is not repeated."""
    parts = parse_key(text)
    return parts.public_id if parts is not None else text.removeprefix("mg-").partition("-")[0]
