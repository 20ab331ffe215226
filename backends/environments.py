"""Finds the virtual environment that an engine was installed into; installs nothing."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.errors import ConfigError

ROOT_VARIABLE = "MOEGATE_ENGINES_DIR"
DEFAULT_ROOT = Path("~/.cache/moegate/engines")
# The installer writes this last: a folder without it is a half-finished one.
MARKER = ".moegate-installed"


def engines_root() -> Path:
    """The folder that holds every engine's environment; clones of the repository share it."""
    return Path(os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT).expanduser()


def engine_python(name: str) -> Path:
    """The interpreter of the newest finished environment of an engine, such as `vllm` or `torch-reference`.

    Raises:
        ConfigError: there is none; the message says which command installs it.
    """
    finished = [folder for folder in engines_root().glob(f"{name}-[0-9]*") if (folder / MARKER).is_file()]
    if not finished:
        raise ConfigError(f"the engine {name} is not installed; run `make engine-{name}`")
    newest = max(finished, key=lambda folder: (folder / MARKER).stat().st_mtime)
    return newest / "bin" / "python"
