"""`moegate usage`: reads its options, asks the query layer, prints the report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import CommandContext
from gateway.errors import ConfigError, GatewayError, InvalidRequest
from plugins.ledger.asked import MOST_ROWS, ROWS, read_query
from plugins.ledger.dimensions import DIMENSIONS
from plugins.ledger.formats import Format, write
from plugins.ledger.usage import Report, statement, usage

commands = typer.Typer(name="usage", help="Sum up calls, tokens and cost from the ledger.")

Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration file (YAML).")]
Form = Annotated[Format, typer.Option("--format", help="How to print it.")]
Values = list[str] | None

_EXIT_USAGE = 2


@commands.callback(invoke_without_command=True)
def show(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    config: Config = Path("moegate.yaml"),
    since: Annotated[str | None, typer.Option("--from", help="First day or time, UTC; this month's start.")] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="First day or time that no longer counts; tomorrow.")
    ] = None,
    by: Annotated[str, typer.Option(help=f"With commas between: {', '.join(DIMENSIONS)}.")] = "",
    tenant: Annotated[Values, typer.Option(help="Only this tenant; may be repeated, as may the others.")] = None,
    team: Annotated[Values, typer.Option(help="Only this team.")] = None,
    key: Annotated[Values, typer.Option(help="Only the key of this public id.")] = None,
    user: Annotated[Values, typer.Option(help="Only this end user.")] = None,
    model: Annotated[Values, typer.Option(help="Only this model.")] = None,
    only: Annotated[Values, typer.Option(help="Only where DIMENSION=VALUE, any but times.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="So many lines at most.")] = ROWS,
    form: Form = Format.TABLE,
) -> None:
    """Sum up what was used. Costs of different currencies are never added, so there is a line for each."""
    if context.invoked_subcommand is not None:
        return
    restrictions = {"tenant": tenant, "team": team, "key": key, "user": user, "model": model}
    chosen = {name: list(values) for name, values in restrictions.items() if values}
    for each in only or ():
        name, is_one, value = each.partition("=")
        if not is_one:
            _refuse(InvalidRequest(f"--only wants DIMENSION=VALUE, not {each[:40]!r}."))
        chosen.setdefault(name, []).append(value)

    async def ask(engine: AsyncEngine) -> Report:
        return await usage(engine, read_query(since, until, by, chosen, limit, now=time.time()))

    _print(context, config, form, ask)


@commands.command("statement")
def show_statement(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="Whose.")],
    month: Annotated[str, typer.Option(help="Such as 2026-11, UTC.")],
    config: Config = Path("moegate.yaml"),
    form: Form = Format.TABLE,
) -> None:
    """Sum up a tenant's month by model: tokens by class, cost, and how much of it is estimated."""

    async def ask(engine: AsyncEngine) -> Report:
        return await statement(engine, tenant, month, now=time.time())

    _print(context, config, form, ask)


def _print(context: typer.Context, config: Path, form: Format, ask: Callable[[AsyncEngine], Awaitable[Report]]) -> None:
    opener: CommandContext = context.obj

    async def run() -> Report:
        async with opener.open(config) as configuration:
            return await ask((await configuration.database()).engine)

    try:
        report = asyncio.run(run())
    except ConfigError:
        raise  # the command line prints it
    except GatewayError as error:
        _refuse(error)
    typer.echo(write(report, form), nl=False)


def _refuse(error: GatewayError) -> NoReturn:
    typer.echo(f"moegate: {error.message}", err=True)
    raise typer.Exit(_EXIT_USAGE if isinstance(error, InvalidRequest) else 1) from None
