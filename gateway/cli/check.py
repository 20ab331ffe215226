"""`moegate check`: builds everything and serves nothing."""

from __future__ import annotations

import asyncio

import typer

from gateway.app import Application
from gateway.cli import logs
from gateway.cli.serve import ConfigOption
from gateway.composition.runtime import Runtime


def check(config: ConfigOption) -> None:
    """Say whether a configuration can be served: exit 0 and a summary, or exit 2 and every error found."""
    logs.configure(logs.Format.TEXT, logs.Level.WARNING)
    runtime = asyncio.run(_build(config))
    for line in summary(runtime):
        typer.echo(line)


async def _build(config: ConfigOption) -> Runtime:
    runtime = await Application(config).build()
    await runtime.stop()
    return runtime


def summary(runtime: Runtime) -> list[str]:
    """What a configuration comes to, a line each."""
    server = runtime.settings.server
    lines = [f"ok: would listen on {server.host}:{server.port}"]
    for pool in runtime.fleet.pools:
        names = ", ".join((pool.model.name, *pool.model.aliases))
        lines.append(
            f"model {names}: {pool.model.checkpoint.id}, licence {pool.model.checkpoint.licence or 'not said'}"
        )
        lines += [
            f"  replica {replica.name}: {replica.backend}, up to {replica.max_concurrent} calls at once, "
            f"{replica.context_length} tokens of context"
            for replica in (member.replica for member in pool.members)
        ]
    policies = runtime.settings.policies
    for kind, entries in (
        ("admission", policies.admission),
        ("routing", runtime.routing),
        ("attribution", policies.attribution),
    ):
        lines.append(f"{kind}: {', '.join(entry['use'] for entry in entries) or 'none'}")
    lines.append(f"plugins: {', '.join(entry['use'] for entry in runtime.settings.plugins) or 'none'}")
    lines += [
        f"routing of {model.name}: {', '.join(entry['use'] for entry in model.routing) or 'none'}"
        for model in runtime.settings.models
        if model.routing is not None
    ]
    return lines
