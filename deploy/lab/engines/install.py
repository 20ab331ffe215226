#!/usr/bin/env python3
"""Installs one engine into its own virtual environment, `python3 install.py vllm`; it starts no engine.

Standard library only, because it runs before anything of ours is installed.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from engine_environment import Environment, ForeignFolder, InstallError, NoSpace, Progress, StepFailed, StillLocked
from engine_recipe import RecipeError, load_recipe

EXIT_STEP_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_SPACE = 3
EXIT_STILL_LOCKED = 4
EXIT_NOT_INSTALLED = 5
EXIT_INTERRUPTED = 130

EXIT_CODES: dict[type[InstallError], int] = {
    StepFailed: EXIT_STEP_FAILED,
    ForeignFolder: EXIT_USAGE,
    NoSpace: EXIT_NO_SPACE,
    StillLocked: EXIT_STILL_LOCKED,
}


def engines_folder() -> Path:
    """Return where all environments live; clones of the repository share it."""
    return Path(os.environ.get("MOEGATE_ENGINES_DIR") or "~/.cache/moegate/engines").expanduser().absolute()


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description="Install one engine into its own environment.")
    parser.add_argument("engine", help="a recipe's name, such as vllm or torch-reference")
    parser.add_argument("--print-python", action="store_true", help="install nothing, print the interpreter's path")
    parser.add_argument("--recipes", type=Path, default=Path(__file__).parent, help="folder of the recipes")
    parser.add_argument("--wait-minutes", type=float, default=60.0, help="how long to wait for another install")
    return parser.parse_args()


def main() -> int:
    """Install one engine, or say where its interpreter is."""
    asked = arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        environment = Environment(load_recipe(asked.recipes.resolve(), asked.engine), engines_folder())
        if not asked.print_python:
            environment.install(Progress(environment.path.name), asked.wait_minutes * 60)
            return 0
        if environment.is_ready():
            sys.stdout.write(f"{environment.python}\n")
            return 0
        sys.stderr.write(f"{asked.engine} is not installed, or its recipe has changed since\n")
    except RecipeError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    except InstallError as error:
        sys.stderr.write(f"{asked.engine} was not installed: {error}\n")
        return EXIT_CODES[type(error)]
    except KeyboardInterrupt:
        sys.stderr.write(f"install of {asked.engine} interrupted; the next one starts afresh\n")
        return EXIT_INTERRUPTED
    return EXIT_NOT_INSTALLED


def _interrupt(_number: int, _frame: object) -> NoReturn:
    # A kill ends the running step as Ctrl-C does, so that no pip is left behind.
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
