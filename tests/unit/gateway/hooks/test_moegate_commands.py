from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import build_cli
from gateway.errors import ConfigError

SOURCE = """
import typer
from gateway import hookimpl

greetings = typer.Typer(name="greet", help="Greet people.", no_args_is_help=True)

@greetings.callback()
def group():
    pass

@greetings.command()
def hello(name: str):
    typer.echo(f"Hello, {name}!")

@hookimpl
def moegate_commands():
    return [greetings]
"""


def test_a_command_stands_beside_our_own(distribution: Any) -> None:
    distribution("a_greeter", SOURCE)
    cli, runner = build_cli(), CliRunner()
    listed = runner.invoke(cli, ["--help"]).output
    assert all(name in listed for name in ("serve", "check", "plugins", "schema", "keys", "greet"))
    said = runner.invoke(cli, ["greet", "hello", "world"])
    assert (said.exit_code, said.output) == (0, "Hello, world!\n")


def test_without_the_plugin_there_is_no_such_command() -> None:
    assert CliRunner().invoke(build_cli(), ["greet"]).exit_code == 2


@pytest.mark.parametrize("returned", ["[typer.Typer()]", "[hello]", "[greetings, None]"])
def test_what_is_no_command_with_a_name_is_refused(distribution: Any, returned: str) -> None:
    distribution("a_greeter", SOURCE.replace("return [greetings]", f"return {returned}"))
    with pytest.raises(ConfigError) as caught:
        build_cli()
    assert caught.value.message == "plugin 'a_greeter' returned a command that is not a Typer with a name"
