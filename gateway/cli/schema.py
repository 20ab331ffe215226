"""`moegate schema`: the JSON Schema of the configuration file, for editors."""

from __future__ import annotations

import json

import typer

from gateway.settings import Settings
from gateway.validation import json_schema


def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    typer.echo(json.dumps(json_schema(Settings), indent=2))
