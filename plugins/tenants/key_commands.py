"""`moegate keys` for keys that are kept in the database: a key is printed when it is made, and at no other time."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import Operation, Scope
from plugins.tenants.commands import all_keys
from plugins.tenants.directory import Directory
from plugins.tenants.model import Key, Terms
from plugins.tenants.opening import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    actor,
    duration,
    moment,
    public_id,
    run,
)
from plugins.tenants.printing import as_json, key_table, when
from plugins.tenants.views import key_view, shown_key

key_commands = typer.Typer(name="keys", help="Make, list, rotate and revoke API keys.", no_args_is_help=True)

KeyArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The key's id: what stands between the dashes of mg-ID-…")
]


@key_commands.command()
def create(  # noqa: PLR0913, PLR0917 - Typer's options are a function's arguments
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call it.")],
    tenant: Annotated[str, typer.Option(help="Whose it is.")],
    team: Annotated[str | None, typer.Option(help="Which of the tenant's teams.")] = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; inference if nothing is said.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Which models; all if nothing is said.")] = None,
    operation: Annotated[list[Operation] | None, typer.Option(help="Which operations; all if nothing is said.")] = None,
    expires: Annotated[str | None, typer.Option(help="A date, or a length of time such as 90d.")] = None,
    as_json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a key. It is shown once; only its hash is stored."""

    async def work(directory: Directory) -> tuple[Key, str, float]:
        now = directory.clock()
        terms = Terms(
            scopes=tuple(scope) if scope else None,
            models=tuple(model) if model else None,
            operations=tuple(operation) if operation else None,
            expires_at=moment(expires, now) if expires else None,
        )
        key, text = await directory.create_key(actor(), (tenant, team), name, terms)
        return key, text, now

    key, text, now = run(context, config, work)
    _show_once(key, text, now, as_json_=as_json_)


@key_commands.command("list")
def list_(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    team: Annotated[str | None, typer.Option(help="Only of this one of the tenant's teams.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Revoked ones too.")] = False,
    as_json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """List keys, without their secrets."""

    async def work(directory: Directory) -> tuple[list[Key], float]:
        return await all_keys(directory, tenant, team), directory.clock()

    found, now = run(context, config, work)
    found = [key for key in found if every or key.revoked_at is None]
    if as_json_:
        typer.echo(as_json([key_view(key, now) for key in found]))
        return
    for line in key_table(found, now):
        typer.echo(line)


@key_commands.command()
def rotate(
    context: typer.Context,
    key_id: KeyArgument,
    grace: Annotated[str, typer.Option(help="How long the old secret still holds: 0, 15m, 24h, 7d.")] = "24h",
    as_json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give a key another secret under the same id. It is shown once."""
    grace_seconds = duration(grace)

    async def work(directory: Directory) -> tuple[Key, str, float]:
        key, text = await directory.rotate_key(actor(), public_id(key_id), grace_seconds)
        return key, text, directory.clock()

    key, text, now = run(context, config, work)
    _show_once(key, text, now, as_json_=as_json_)


@key_commands.command()
def revoke(context: typer.Context, key_id: KeyArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """End a key for ever, on every node within a second."""
    key = run(context, config, lambda directory: directory.revoke_key(actor(), public_id(key_id)))
    typer.echo(f"{key.id} revoked")


def _show_once(key: Key, text: str, now: float, *, as_json_: bool) -> None:
    if as_json_:
        typer.echo(as_json(shown_key(key, text, now)))
        return
    typer.echo(text)
    # To people, not into the variable of a script that took the line above.
    old = max((until for until in key.retiring_at if until > now), default=None)
    still = f" The old secret holds until {when(old)}." if old is not None else ""
    typer.echo(f"Key {key.id} ({key.name}). It is shown this once.{still}", err=True)
