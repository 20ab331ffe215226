"""`moegate replicas`: asks a gateway that runs over its admin API, and prints what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import msgspec
import typer

from gateway import CommandContext
from gateway.errors import GatewayError

EXIT_FAILED = 1

commands = typer.Typer(name="replicas", help="See and drain the replicas of a gateway that runs.", no_args_is_help=True)

Url = Annotated[str, typer.Option(envvar="MOEGATE_URL", help="The gateway; each one drains for itself.")]
Key = Annotated[str, typer.Option(envvar="MOEGATE_ADMIN_KEY", help="A key with admin:read, and admin:write to change.")]
Name = Annotated[str, typer.Argument(help="A replica.")]

LOCAL = "http://127.0.0.1:8080"
_SOURCE_HEADS = ("MODEL", "SOURCE", "STATE", "TARGETS", "CHANGES", "FAILURES", "WELL", "REASON")
_HEADS = ("REPLICA", "MODEL", "STATE", "IN FLIGHT", "SLOTS", "BREAKER", "SINCE", "REASON")


@commands.command("list")
def list_(
    context: typer.Context,
    key: Key,
    url: Url = LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """List all replicas and how each is."""
    found = _ask(context, url, key, "GET", "replicas")
    _print(found, _HEADS, [_row(each) for each in found["data"]], as_json=as_json)


@commands.command()
def sources(
    context: typer.Context,
    key: Key,
    url: Url = LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """List where replicas are found that the configuration does not name, and how each source is."""
    found = _ask(context, url, key, "GET", "targets")
    _print(found, _SOURCE_HEADS, [_source_row(each) for each in found["data"]], as_json=as_json)


@commands.command()
def drain(context: typer.Context, name: Name, key: Key, url: Url = LOCAL) -> None:
    """Place no more calls on a replica; what runs there may end. It holds over reloads, until `resume` or a restart."""
    replica = _ask(context, url, key, "POST", f"replicas/{quote(name)}/drain")
    running = replica["in_flight"]
    typer.echo(f"{replica['name']} drained, {running} {'call' if running == 1 else 'calls'} still running there")


@commands.command()
def resume(context: typer.Context, name: Name, key: Key, url: Url = LOCAL) -> None:
    """Place calls on a drained replica again."""
    replica = _ask(context, url, key, "POST", f"replicas/{quote(name)}/resume")
    typer.echo(f"{replica['name']} resumed, it is {replica['state']}")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A line per row under a line of heads."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _print(found: Any, heads: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for line in table(heads, rows):
        typer.echo(line)


def _source_row(source: dict[str, Any]) -> tuple[str, ...]:
    well = source["age_seconds"]
    return (
        source["model"],
        source["source"],
        source["condition"],
        str(source["targets"]),
        str(source["changes"]),
        str(source["failures"]),
        "never" if well is None else f"{well:.0f} s ago",
        source["reason"],
    )


def _row(replica: dict[str, Any]) -> tuple[str, ...]:
    slots, most = replica["slots"], replica["max_concurrent"]
    since = replica["since_seconds"]
    return (
        replica["name"],
        replica["model"],
        replica["state"],
        str(replica["in_flight"]),
        str(most) if slots == most else f"{slots} of {most}",
        replica["breaker"],
        "-" if since is None else f"{since:.0f} s",
        replica["reason"],
    )


def _ask(context: typer.Context, url: str, key: str, method: str, path: str) -> Any:
    opener: CommandContext = context.obj
    try:
        return opener.ask(url, key, method, f"/admin/v1/{path}")
    except GatewayError as error:
        _fail(error.message)


def _fail(message: str) -> NoReturn:
    typer.echo(f"moegate: {message}", err=True)
    raise typer.Exit(EXIT_FAILED)
