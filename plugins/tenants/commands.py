"""`moegate tenants`: what the admin API does, on the machine and without a key; the work is the directory's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.errors import InvalidRequest
from plugins.tenants import document
from plugins.tenants.applying import Applied
from plugins.tenants.directory import Directory
from plugins.tenants.model import Key, Patch, Team, Tenant, TenantTerms
from plugins.tenants.opening import (
    DEFAULT_CONFIG,
    EXIT_FAILED,
    EXIT_WRONG,
    ConfigOption,
    JsonOption,
    actor,
    fail,
    run,
)
from plugins.tenants.printing import as_json, audit_table, description, diff, key_table, tenant_table
from plugins.tenants.reading import MOST_ROWS
from plugins.tenants.views import applied_view, key_view, team_view, tenant_view

commands = typer.Typer(name="tenants", help="Keep tenants, teams and their limits.", no_args_is_help=True)

Owner = Annotated[str, typer.Argument(help="A tenant, or a team as TENANT/TEAM.")]


@commands.command()
def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-f", help="What there shall be (YAML).")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change; status 1 if anything.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Disable what the file does not name.")] = False,
    as_json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make tenants, teams and keys as a file says; the same again changes nothing.

    A key that is made is shown once, at the end.
    """
    try:
        declaration = document.read(file, os.environ)
    except InvalidRequest as error:
        fail(error.message, EXIT_WRONG)

    async def work(directory: Directory) -> Applied:
        return await directory.apply(actor(), declaration, prune=prune, dry_run=dry_run)

    applied = run(context, config, work)
    if as_json_:
        typer.echo(as_json(applied_view(applied, dry_run=dry_run)))
    else:
        for line in [*diff(applied.changes), *_conclusion(applied, dry_run=dry_run)]:
            typer.echo(line)
    if dry_run and applied.changes:
        raise typer.Exit(EXIT_FAILED)


def _conclusion(applied: Applied, *, dry_run: bool) -> list[str]:
    count = len(applied.changes)
    if not count:
        return ["Nothing to change."]
    made = [f"{key.tenant}/{key.team + '/' if key.team else ''}{key.name}: {key.key}" for key in applied.made]
    shown = ["", "These keys were made. They are shown once:", *made] if made else []
    return [f"{count} {'change' if count == 1 else 'changes'}{', not made' if dry_run else ''}.", *shown]


@commands.command("list")
def list_(context: typer.Context, as_json_: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List tenants."""

    async def work(directory: Directory) -> tuple[list[Tenant], float]:
        found: list[Tenant] = []
        while page := await directory.tenants(found[-1].name if found else "", MOST_ROWS):
            found += page
        return found, directory.clock()

    found, now = run(context, config, work)
    if as_json_:
        typer.echo(as_json([tenant_view(each, now) for each in found]))
    else:
        _lines(tenant_table(found, now))


@commands.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A tenant.")],
    as_json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show a tenant with its teams and its keys."""

    async def work(directory: Directory) -> tuple[Tenant, list[Team], list[Key], float]:
        tenant = await directory.tenant(name)
        return tenant, await all_teams(directory, name), await all_keys(directory, name), directory.clock()

    tenant, teams, keys, now = run(context, config, work)
    if as_json_:
        shown = {
            "tenant": tenant_view(tenant, now),
            "teams": [team_view(team, now) for team in teams],
            "keys": [key_view(key, now) for key in keys],
        }
        typer.echo(as_json(shown))
        return
    _lines(description(tenant, now))
    for team in teams:
        _lines(["", *description(team, now)])
    if keys:
        _lines(["", *key_table(keys, now)])


@commands.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Letters, digits, dots and dashes; fixed for ever.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a tenant without limits; `apply` gives it some."""

    async def work(directory: Directory) -> Tenant:
        return await directory.create_tenant(actor(), name, TenantTerms())

    typer.echo(f"{run(context, config, work).name} made")


@commands.command()
def disable(context: typer.Context, name: Owner, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Refuse all keys of a tenant or a team, on every node within a second; `enable` takes it back."""
    _switch(context, config, name, disabled=True)


@commands.command()
def enable(context: typer.Context, name: Owner, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Let the keys of a tenant or a team in again."""
    _switch(context, config, name, disabled=False)


def _switch(context: typer.Context, config: Path, name: str, *, disabled: bool) -> None:
    tenant, _, team = name.partition("/")

    async def work(directory: Directory) -> Tenant | Team:
        patch = Patch(disabled=disabled)
        if team:
            return await directory.change_team(actor(), tenant, team, patch)
        return await directory.change_tenant(actor(), tenant, patch)

    run(context, config, work)
    typer.echo(f"{name} {'disabled' if disabled else 'enabled'}")


@commands.command()
def audit(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only what was done to this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many, the latest.")] = 50,
    as_json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show who did what, the latest first."""
    found = run(context, config, lambda directory: directory.audit(tenant, None, limit))
    if as_json_:
        typer.echo(as_json(found))
    else:
        _lines(audit_table(found))


async def all_teams(directory: Directory, tenant: str) -> list[Team]:
    """Every team of a tenant."""
    found: list[Team] = []
    while page := await directory.teams(tenant, found[-1].name if found else "", MOST_ROWS):
        found += page
    return found


async def all_keys(directory: Directory, tenant: str | None, team: str | None = None) -> list[Key]:
    """Every key of a tenant, of a team, or of all."""
    found: list[Key] = []
    while page := await directory.keys(tenant, team, found[-1].id if found else "", MOST_ROWS):
        found += page
    return found


def _lines(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)
