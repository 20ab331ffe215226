"""`moegate serve`: runs the gateway in the foreground; decides nothing, that is app's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvloop

from gateway.app import Application, OnServing, PortTaken
from gateway.cli import logs

EXIT_FAILED = 1

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file (YAML).")]


def serve(
    config: ConfigOption = Path("moegate.yaml"),
    host: Annotated[str | None, typer.Option(help="Listen here instead of server.host.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Listen here instead of server.port.")] = None,
    log_format: Annotated[
        logs.Format, typer.Option(help="How to write the log, on standard error.")
    ] = logs.Format.TEXT,
    log_level: Annotated[logs.Level, typer.Option(help="What to log at least.")] = logs.Level.INFO,
) -> None:
    """Serve until SIGTERM or Ctrl-C; a second one does not wait for calls in flight. SIGHUP reloads the file."""
    logs.configure(log_format, log_level)
    try:
        run(config, host=host, port=port)
    except PortTaken as error:
        typer.echo(f"moegate: {error.message}. Choose another with --port, or stop what listens there.", err=True)
        raise typer.Exit(EXIT_FAILED) from None


def run(config: Path, *, host: str | None = None, port: int | None = None, on_serving: OnServing | None = None) -> None:
    """Serve until a signal.

    Raises:
        ConfigError: the configuration cannot be served.
        PortTaken: another process listens there.
    """

    async def body() -> None:
        await Application(config, host=host, port=port).serve(on_serving)

    uvloop.run(body())
