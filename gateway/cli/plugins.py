"""`moegate plugins`: every extension there is, whether the configuration uses it or not."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.registry import Registered, Registry
from gateway.validation import json_schema


def plugins(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, with each settings schema.")] = False,
) -> None:
    """List every extension: kind, name, plugin, version, settings."""
    registered = list(Registry.from_plugins())
    if as_json:
        typer.echo(json.dumps([_describe(entry) for entry in registered], indent=2))
        return
    rows = [("KIND", "NAME", "PLUGIN", "VERSION", "SETTINGS")]
    rows += [
        (
            entry.kind.value,
            entry.extension.name,
            entry.plugin,
            entry.version,
            ", ".join(entry.extension.settings.__struct_fields__) or "-",
        )
        for entry in registered
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        typer.echo("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]]))


def _describe(entry: Registered) -> dict[str, object]:
    return {
        "kind": entry.kind.value,
        "name": entry.extension.name,
        "plugin": entry.plugin,
        "version": entry.version,
        "settings": json_schema(entry.extension.settings),
    }
