"""The `moegate` command: one file a command, and those that plugins bring."""

from __future__ import annotations

import typer

from gateway.cli import check, db, logs, opening, plugins, schema, serve
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
        context_settings={"obj": opening.Opener()},
    )
    cli.command("serve")(serve.serve)
    cli.command("check")(check.check)
    cli.command("schema")(schema.schema)
    cli.command("plugins")(plugins.plugins)
    cli.add_typer(db.commands)
    cli.add_typer(db.commands)
    groups: dict[str, typer.Typer] = {}
    for plugin, commands in call_hook(load_plugins(), "moegate_commands"):
        for command in commands:
            name = command.info.name if isinstance(command, typer.Typer) else None
            if not name:
                raise ConfigError(f"plugin {plugin!r} returned a command that is not a Typer with a name")
            groups[name] = _joined(groups[name], command) if name in groups else command
    for group in groups.values():
        cli.add_typer(group)
    return cli


def _joined(first: typer.Typer, second: typer.Typer) -> typer.Typer:
    """Two plugins may add to one group: `moegate engines up` and another's `moegate engines …` stand side by side."""
    joined = typer.Typer()
    joined.info, joined.registered_callback = first.info, first.registered_callback
    joined.registered_commands = [*first.registered_commands, *second.registered_commands]
    joined.registered_groups = [*first.registered_groups, *second.registered_groups]
    return joined


def main() -> None:
    """The console script."""
    # What a command prints may be read by a program; the log goes elsewhere. `serve` sets it up as it is told to.
    logs.configure(logs.Format.TEXT, logs.Level.WARNING)
    try:
        build_cli()()
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        raise SystemExit(EXIT_CONFIG) from None
