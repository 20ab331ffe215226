"""`moegate experiments`: asks a gateway that runs over its admin API, and prints what it says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import msgspec
import typer

from gateway import CommandContext
from gateway.errors import GatewayError
from plugins.experiments.live.printing import list_lines, report, show_lines

EXIT_FAILED = 1
LOCAL = "http://127.0.0.1:8080"

commands = typer.Typer(
    name="experiments", help="See and stop live experiments of a gateway that runs.", no_args_is_help=True
)

Url = Annotated[str, typer.Option(envvar="MOEGATE_URL", help="The gateway.")]
Key = Annotated[str, typer.Option(envvar="MOEGATE_ADMIN_KEY", help="A key with admin:read, and admin:write to stop.")]
Name = Annotated[str, typer.Argument(help="An experiment.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@commands.command("list")
def list_(context: typer.Context, key: Key, url: Url = LOCAL, as_json: AsJson = False) -> None:
    """List all experiments, how each stands, and how many calls each arm has had."""
    found = _ask(context, url, key, "GET", "")
    _print(found, list_lines(found["data"]), as_json=as_json)


@commands.command()
def show(context: typer.Context, name: Name, key: Key, url: Url = LOCAL, as_json: AsJson = False) -> None:
    """Show one experiment: its arms' figures, and a verdict for each endpoint."""
    found = _ask(context, url, key, "GET", f"/{quote(name, safe='')}")
    _print(found, show_lines(found), as_json=as_json)


@commands.command("report")
def report_(
    context: typer.Context,
    name: Name,
    key: Key,
    out: Annotated[Path | None, typer.Option(help="A file, instead of standard output.")] = None,
    url: Url = LOCAL,
) -> None:
    """Write one experiment down as Markdown, with every verdict's interval, margin, number of calls and method."""
    found = _ask(context, url, key, "GET", f"/{quote(name, safe='')}")
    text = report(found, f"as of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        _fail(f"{out} cannot be written: {error.strerror}")


@commands.command()
def stop(context: typer.Context, name: Name, key: Key, url: Url = LOCAL) -> None:
    """Let no call join an experiment any more, on any node; what it has found stays."""
    found = _ask(context, url, key, "POST", f"/{quote(name, safe='')}/stop")
    typer.echo(f"{found['name']} is {found['state']}: {found['reason']}")


def _print(found: Any, lines: list[str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for line in lines:
        typer.echo(line)


def _ask(context: typer.Context, url: str, key: str, method: str, path: str) -> Any:
    opener: CommandContext = context.obj
    try:
        return opener.ask(url, key, method, f"/admin/v1/experiments{path}")
    except GatewayError as error:
        _fail(error.message)


def _fail(message: str) -> NoReturn:
    typer.echo(f"moegate: {message}", err=True)
    raise typer.Exit(EXIT_FAILED)
