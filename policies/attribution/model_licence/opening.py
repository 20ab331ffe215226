"""From a command to the desk of a configuration, and from its errors to an exit status."""

from __future__ import annotations

import asyncio
import datetime as dt
import getpass
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, cast

import msgspec
import typer

from gateway import CommandContext
from gateway.errors import ClientError, ConfigError, GatewayError
from policies.attribution.model_licence.desk import Desk, HasDesk
from policies.attribution.model_licence.views import StandingView

EXIT_FAILED = 1
EXIT_WRONG = 2

T = TypeVar("T")

DEFAULT_CONFIG = Path("moegate.yaml")
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file (YAML).")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
ProductArgument = Annotated[str, typer.Argument(help="A product.")]


def run(context: typer.Context, config: Path, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Open a configuration and do the work at its desk.

    Exits with 2 for what was asked wrongly, with 1 for anything else that goes wrong.
    """

    async def opened() -> T:
        opener: CommandContext = context.obj
        async with opener.open(config) as configuration:
            service = cast("HasDesk | None", configuration.service("model_licence"))
            desk = service.desk if service is not None else None
            if desk is None:
                raise ConfigError("policies.attribution names no model_licence, so there are no licences to look at")
            await configuration.database()
            return await work(desk)

    try:
        return asyncio.run(opened())
    except ClientError as error:
        fail(error.message, EXIT_WRONG if error.status == 400 else EXIT_FAILED)  # noqa: PLR2004 - see gateway.errors
    except GatewayError as error:
        if error.code == "config_error":
            raise
        fail(
            error.message
            if error.public_message == error.message
            else f"{error.public_message} ({error.message})",
            EXIT_FAILED,
        )  # fmt: skip


def read(kind: type[T], said: Mapping[str, Any]) -> T:
    """What was typed as what the admin API takes; what was not typed, None, is left out.

    Exits with 2 if it does not fit.
    """
    try:
        return msgspec.convert({name: value for name, value in said.items() if value is not None}, kind, strict=False)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        text = "write a day such as 2026-11-01" if "RFC3339" in text else text
        fail(f"{place.removesuffix('`')}: {text}" if place else text, EXIT_WRONG)


def fail(message: str, status: int) -> NoReturn:
    """Say what is wrong and end."""
    typer.echo(f"moegate: {message}", err=True)
    raise typer.Exit(status)


def actor() -> str:
    """Who runs the command, for the history."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in a container
        name = str(os.getuid())
    return f"command line ({name})"


def standing_table(standing: Sequence[StandingView]) -> str:
    """How a product stands to licences."""
    rows = [(each.licence, each.state.value, when(each.since), each.agreement.value, each.lacking) for each in standing]
    return table(("LICENCE", "STATE", "SINCE", "AGREEMENT", "LACKING"), rows)


def as_json(value: Any) -> str:
    """Plain JSON over several lines."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A line per row under a line of heads; what somebody chose cannot move the cursor or begin a line."""
    lines = [heads, *([_plain(cell) or "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def when(seconds: int | None) -> str:
    """A time for people, in UTC."""
    return "-" if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
