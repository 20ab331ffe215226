from __future__ import annotations

from pathlib import Path
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


ASKS = """
import asyncio, pathlib
import typer
from gateway import hookimpl

questions = typer.Typer(name="{group}")

@questions.callback()
def group():
    pass

@questions.command()
def {command}(context: typer.Context, file: pathlib.Path):
    async def ask():
        async with context.obj.open(file) as opened:
            (replica,) = opened.fleet.replicas()
            probe = await opened.look(replica)
            typer.echo(f"{{replica.name}} is {{probe.state.value}}, {{type(opened.service('engine_supervisor')).__name__}}")
    asyncio.run(ask())

@hookimpl
def moegate_commands():
    return [questions]
"""

CONFIG = """
server: {anonymous: true}
models:
  - name: kimi-k2
    checkpoint: {id: a, context_length: 12}
    replicas: [{name: nowhere, backend: openai_compatible, url: "http://127.0.0.1:9"}]
"""


def test_a_command_can_open_a_configuration(distribution: Any, tmp_path: Path) -> None:
    distribution("an_asker", ASKS.format(group="ask", command="state"))
    (tmp_path / "moegate.yaml").write_text(CONFIG)
    said = CliRunner().invoke(build_cli(), ["ask", "state", str(tmp_path / "moegate.yaml")])
    assert (said.exit_code, said.output) == (0, "nowhere is unreachable, EngineSupervisor\n")


def test_one_that_is_wrong_is_a_configuration_error(distribution: Any, tmp_path: Path) -> None:
    distribution("an_asker", ASKS.format(group="ask", command="state"))
    (tmp_path / "moegate.yaml").write_text(CONFIG.replace("openai_compatible", "opneai"))
    said = CliRunner().invoke(build_cli(), ["ask", "state", str(tmp_path / "moegate.yaml")])
    assert isinstance(said.exception, ConfigError)
    assert "'opneai'" in said.exception.message


def test_two_plugins_may_add_to_one_group(distribution: Any) -> None:
    distribution("a_greeter", SOURCE)
    distribution("an_asker", ASKS.format(group="greet", command="state"))
    cli, runner = build_cli(), CliRunner()
    assert runner.invoke(cli, ["greet", "hello", "world"]).output == "Hello, world!\n"
    assert "state" in runner.invoke(cli, ["greet", "--help"]).output
    assert runner.invoke(cli, ["greet", "--help"]).output.count("hello") == 1


def test_without_the_plugin_there_is_no_such_command() -> None:
    assert CliRunner().invoke(build_cli(), ["greet"]).exit_code == 2


@pytest.mark.parametrize("returned", ["[typer.Typer()]", "[hello]", "[greetings, None]"])
def test_what_is_no_command_with_a_name_is_refused(distribution: Any, returned: str) -> None:
    distribution("a_greeter", SOURCE.replace("return [greetings]", f"return {returned}"))
    with pytest.raises(ConfigError) as caught:
        build_cli()
    assert caught.value.message == "plugin 'a_greeter' returned a command that is not a Typer with a name"
