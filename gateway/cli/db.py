"""`moegate db`: brings the tables of the SQL database up to date, and tells where they stand; starts nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from gateway import config_file
from gateway.cli import logs
from gateway.cli.serve import ConfigOption
from gateway.contracts.database import Schema
from gateway.database import SchemaState, SqlDatabase
from gateway.errors import ConfigError
from gateway.registry import Registry
from gateway.settings import Settings
from gateway.validation import INVALID, Validator

# Not 1: that is what a crash ends with.
EXIT_BEHIND = 3

commands = typer.Typer(name="db", help="Keep the tables of the SQL database up to date.", no_args_is_help=True)


@commands.command()
def upgrade(config: ConfigOption = Path("moegate.yaml")) -> None:
    """Bring all tables to what this version needs; does nothing if they are there already."""
    logs.configure(logs.Format.TEXT, logs.Level.WARNING)
    for line in asyncio.run(_upgrade(_url(config), Registry.from_plugins().schemas)):
        typer.echo(line)


@commands.command()
def status(config: ConfigOption = Path("moegate.yaml")) -> None:
    """Show each schema: the revision its tables are at, and the one this version needs; exit 3 if they differ."""
    logs.configure(logs.Format.TEXT, logs.Level.WARNING)
    states = asyncio.run(_states(_url(config), Registry.from_plugins().schemas))
    for line in table(states):
        typer.echo(line)
    if not all(state.current for state in states):
        raise typer.Exit(EXIT_BEHIND)


def table(states: list[SchemaState]) -> list[str]:
    """The lines of `moegate db status`."""
    rows = [("SCHEMA", "AT", "HEAD", "")]
    rows += [(state.name, state.at or "-", state.head, _remark(state)) for state in states]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]


def _remark(state: SchemaState) -> str:
    if state.current:
        return "up to date"
    return "behind" if state.known else "of a newer version"


def _url(config: Path) -> str:
    # The settings alone: what they name need not be built, nor be reachable, for the tables to be upgraded.
    document = config_file.read(config)
    validator = Validator(document)
    settings = validator.struct(document.content, Settings, ())
    if settings is INVALID or not isinstance(settings, Settings) or validator.problems:
        raise ConfigError(*validator.problems)
    return settings.database.reveal()


async def _states(url: str, schemas: tuple[Schema, ...]) -> list[SchemaState]:
    database = SqlDatabase(url)
    try:
        return await database.states(schemas)
    finally:
        await database.aclose()


async def _upgrade(url: str, schemas: tuple[Schema, ...]) -> list[str]:
    database = SqlDatabase(url)
    try:
        before = {state.name: state.at for state in await database.states(schemas)}
        await database.prepare(schemas, upgrade=True)
        after = await database.states(schemas)
    finally:
        await database.aclose()
    return [
        f"{state.name}: {before[state.name] or 'nothing'} -> {state.at}"
        if before[state.name] != state.at
        else f"{state.name}: {state.at}, up to date"
        for state in after
    ] or ["no plugin keeps tables"]
