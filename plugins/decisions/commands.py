"""`moegate why CALL_ID`: asks a gateway that runs, and prints its answer for people."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from gateway import CommandContext
from gateway.errors import GatewayError
from plugins.decisions.printing import explanation
from plugins.decisions.record import CallRecord

EXIT_FAILED = 1
LOCAL = "http://127.0.0.1:8080"

commands = typer.Typer(name="why", help="Tell why a call went where it went.", no_args_is_help=True)


# A group without commands: options may stand after the id, too.
@commands.callback(
    invoke_without_command=True, subcommand_metavar="", context_settings={"allow_interspersed_args": True}
)
def why(
    context: typer.Context,
    call_id: Annotated[str, typer.Argument(help="As in the header x-moegate-call-id, and in the log.")],
    key: Annotated[str, typer.Option(envvar="MOEGATE_ADMIN_KEY", help="A key with admin:read.")],
    url: Annotated[str, typer.Option(envvar="MOEGATE_URL", help="The gateway that served it.")] = LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """Tell which replicas could have served a call, what each policy said of them, and how each attempt went."""
    opener: CommandContext = context.obj
    try:
        found = opener.ask(url, key, "GET", f"/admin/v1/decisions/{quote(call_id, safe='')}")
        record = msgspec.convert(found, CallRecord)
    except GatewayError as error:
        typer.echo(f"moegate: {error.message}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    except msgspec.ValidationError as error:
        typer.echo(f"moegate: the gateway at {url} is of another version: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for line in explanation(record):
        typer.echo(line)
