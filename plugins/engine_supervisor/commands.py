"""`moegate engines`: starts, shows and stops the engines of a configuration without a gateway; the work is operating's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from gateway import CommandContext
from plugins.engine_supervisor.command_line import render
from plugins.engine_supervisor.operating import Operator
from plugins.engine_supervisor.status import Seen, Situation

EXIT_NOT_UP = 1
INHERITED = "# To this environment comes the shell's own, less all that begins with MOEGATE_."

T = TypeVar("T")

commands = typer.Typer(
    name="engines", help="Start, show and stop the engines that a configuration launches.", no_args_is_help=True
)
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file (YAML).")]
Names = Annotated[list[str] | None, typer.Argument(help="Replicas; all that the configuration launches if none.")]
DEFAULT_CONFIG = Path("moegate.yaml")


@commands.command()
def up(context: typer.Context, names: Names = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Start what does not run, detached from this command, and wait until all is ready.

    A gateway with the same configuration finds the engines running, and leaves them running when it stops.
    """
    _each(context, config, lambda operator: [operator.up(item) for item in operator.chosen(names or ())])


@commands.command()
def down(context: typer.Context, names: Names = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Stop what `up` has started; what a gateway runs stops with that gateway.

    A name may be one that the configuration has no longer.
    """
    _each(context, config, lambda operator: [operator.down(name) for name in operator.stoppable(names or ())])


@commands.command()
def restart(context: typer.Context, names: Names = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Stop and start, with the settings that the configuration has now."""
    _each(context, config, lambda operator: [operator.restart(item) for item in operator.chosen(names or ())])


@commands.command()
def status(
    context: typer.Context,
    names: Names = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Show how each engine is; status 1 if one of the configuration is not ready."""

    async def look(operator: Operator) -> list[Seen]:
        seen = await asyncio.gather(*(operator.look(item) for item in operator.chosen(names or ())))
        return [*seen, *(() if names else operator.strays())]

    seen = _run(context, config, look)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(seen), indent=2))
    else:
        for line in table(seen):
            typer.echo(line)
    _end(all(engine.state in (Situation.READY, Situation.STRAY) for engine in seen))


@commands.command()
def command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A replica with `launch:`.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Print what an engine is started with, quoted for a shell; secrets are hidden."""

    async def text(operator: Operator) -> str:
        return f"{INHERITED}\n{render(operator.chosen([name])[0].plan)}"

    typer.echo(_run(context, config, text))


def table(seen: list[Seen]) -> list[str]:
    """A line per engine under a line of heads."""
    rows = [("ENGINE", "BACKEND", "STATE", "PID", "STARTED BY", "MEMORY", "URL", "REASON")]
    rows += [
        (
            engine.name,
            engine.backend or "-",
            engine.state.value,
            str(engine.pid or "-"),
            f"{engine.started_by} {engine.starter_pid}" if engine.started_by == "gateway" else engine.started_by or "-",
            f"{engine.memory_bytes / 2**20:.0f} MiB" if engine.memory_bytes else "-",
            engine.url,
            engine.reason,
        )
        for engine in seen
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _each(context: typer.Context, config: Path, work: Callable[[Operator], list[Coroutine[None, None, bool]]]) -> None:
    """Do the same to several engines at once, and end with whether all went well."""

    async def together(operator: Operator) -> list[bool]:
        return await asyncio.gather(*work(operator))

    _end(all(_run(context, config, together)))


def _run(context: typer.Context, config: Path, work: Callable[[Operator], Awaitable[T]]) -> T:
    async def opened() -> T:
        opener: CommandContext = context.obj
        async with opener.open(config) as configuration:
            return await work(Operator(configuration, typer.echo))

    return asyncio.run(opened())


def _end(well: bool) -> None:
    if not well:
        raise typer.Exit(EXIT_NOT_UP)
