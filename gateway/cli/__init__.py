"""The `moegate` command: one file a command, and those that plugins bring."""

from __future__ import annotations

import typer

from gateway.cli import check, plugins, schema, serve
from gateway.errors import ConfigError
from gateway.plugin_manager import load_plugins
from gateway.registry import call_hook

EXIT_CONFIG = 2


def build_cli() -> typer.Typer:
    """Put the command line together.

    Raises:
        ConfigError: a plugin is broken.
    """
    cli = typer.Typer(
        name="moegate",
        help="Inference gateway for Kimi K2 on your own engines.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    cli.command("serve")(serve.serve)
    cli.command("check")(check.check)
    cli.command("schema")(schema.schema)
    cli.command("plugins")(plugins.plugins)
    for plugin, commands in call_hook(load_plugins(), "moegate_commands"):
        for command in commands:
            if not isinstance(command, typer.Typer) or not command.info.name:
                raise ConfigError(f"plugin {plugin!r} returned a command that is not a Typer with a name")
            cli.add_typer(command)
    return cli


def main() -> None:
    """The console script."""
    try:
        build_cli()()
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        raise SystemExit(EXIT_CONFIG) from None
