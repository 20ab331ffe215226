"""What the launchers share: the settings every engine takes, the checks before a plan, and the last words of its command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from gateway import LaunchPlan, LaunchSettings
from gateway.errors import ConfigError

# An engine that the gateway starts is spoken to by the gateway alone.
HOST = "127.0.0.1"

# No engine may reach for a hub or report home, and each start is quicker when the last one's compiled modules are there.
PYTHON_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPATH": "",
}


class LocalEngineSettings(LaunchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each of these engines can be told.

    Attributes:
        threads: for arithmetic; more than one pays only on a machine with cores to spare.
        context_length: tokens, prompt and answer together, of one call.
        arguments: handed on to the engine as they are, after ours and before host and port.
    """

    threads: Annotated[int, Meta(ge=1)] = 1
    context_length: Annotated[int, Meta(ge=16)] = 8192
    arguments: tuple[str, ...] = ()


def model_folder(launch: LaunchSettings) -> Path:
    """The model's folder, absolute.

    Raises:
        ConfigError: there is no model in it.
    """
    if not (launch.model / "config.json").is_file():
        raise ConfigError(f"{launch.model} holds no model: there is no config.json in it")
    return launch.model.resolve()


def plan(command: list[str], launch: LocalEngineSettings, environment: dict[str, str]) -> LaunchPlan:
    """Finish a command line. The last word counts with every engine, so nobody's arguments can open it to other machines."""
    argv = (*command, *launch.arguments, "--host", HOST, "--port", str(launch.port))
    return LaunchPlan(argv, environment, f"http://{HOST}:{launch.port}")
